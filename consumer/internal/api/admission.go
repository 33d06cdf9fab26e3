package api

import (
	"sync"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// How many requests one replica handles at once, and how many of them may be one
// identity's.
const (
	maxRequests         = 4096
	maxRequestsIdentity = 256
)

var (
	errIdentityFull = messages.Errorf(messages.CodeUnavailable,
		"%d requests of this identity are being handled already; try again in a moment", maxRequestsIdentity).After(time.Second)
	errFull = messages.Errorf(messages.CodeUnavailable, "too many requests at once; try again in a moment").After(time.Second)
)

// admission limits how many requests are handled at once, so that an identity that
// floods the API does not keep others out. The zero value is ready.
type admission struct {
	mu         sync.Mutex
	all        int
	identities map[string]int
}

// enter admits a request of an identity, or returns why it can't. A request that is
// admitted must leave.
func (a *admission) enter(identity string) *messages.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.identities[identity] >= maxRequestsIdentity:
		return errIdentityFull
	case a.all >= maxRequests:
		return errFull
	}
	if a.identities == nil {
		a.identities = map[string]int{}
	}
	a.identities[identity]++
	a.all++
	return nil
}

func (a *admission) leave(identity string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if a.identities[identity]--; a.identities[identity] == 0 {
		delete(a.identities, identity)
	}
}

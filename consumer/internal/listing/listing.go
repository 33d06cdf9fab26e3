// Package listing reads pages of leases, for requesters and for operators.
package listing

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Query says which leases a list shows, and which page of them.
type Query struct {
	messages.ListRequest
	// Filter selects the keys ([store.Filter]). The request's Secret is not looked at.
	Filter string
	// Matches leaves out the leases for which it returns false; nil leaves out none.
	Matches func(record.Record) bool
	// Unreadable is called for each record that can't be read; nil ignores them.
	Unreadable func(error)
}

// Page answers with one page of leases, in the order of their names. A page has at least
// one lease if there is one, and Next is set if there are more.
func Page(ctx context.Context, leases *store.Leases, q Query) (messages.Reply, error) {
	visit := leases.Visit
	if q.State == "" {
		visit = leases.VisitLive
	}
	found := []messages.Lease{}
	err := visit(ctx, q.Filter, func(key string, e store.Entry, err error) {
		switch {
		case err != nil && q.Unreadable != nil:
			q.Unreadable(err)
		case err == nil && q.shows(key, e.Record):
			found = append(found, *e.Lease())
		}
	})
	if err != nil {
		return messages.Reply{}, err
	}
	return page(found, q.Limit)
}

// shows reports whether the list has a lease on this page or a later one. Without a
// state it has the leases that requesters see as live.
func (q Query) shows(key string, r record.Record) bool {
	state := r.State
	if r.SessionDenied() {
		state = messages.StateRevoked // as [record.Record.Lease] states it
	}
	inState := state == q.State || q.State == "" && !state.Ended()
	return inState && key > q.After && (q.Matches == nil || q.Matches(r))
}

// page sorts leases by their names and answers with the first of them.
func page(leases []messages.Lease, limit int) (messages.Reply, error) {
	slices.SortFunc(leases, func(a, b messages.Lease) int { return strings.Compare(a.Name, b.Name) })
	n, err := fit(leases, limit)
	if err != nil {
		return messages.Reply{}, err
	}
	reply := messages.Reply{Kind: messages.KindLeases, Leases: leases[:n]}
	if n < len(leases) {
		reply.Next = leases[n-1].Name
	}
	return reply, nil
}

// maxPageBytes bounds the size of a page: a NATS message has at most 1 MiB unless the
// server is configured otherwise.
const maxPageBytes = 512 << 10

// fit returns how many of the leases make a page.
func fit(leases []messages.Lease, limit int) (int, error) {
	size := 0
	for n, l := range leases {
		data, err := json.Marshal(l) // #nosec G117 -- the name of a dynamic secret
		if err != nil {
			return 0, err
		}
		if size += len(data); n == limit || (n > 0 && size > maxPageBytes) {
			return n, nil
		}
	}
	return len(leases), nil
}

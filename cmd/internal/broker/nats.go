package broker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// StartNATS starts a NATS server in this process. If the server can't listen on its
// address, the error names the flag --listen.
func StartNATS(o embedded.Options) (*embedded.Server, error) {
	s, err := embedded.Start(o)
	if err == nil || errors.Is(err, embedded.ErrStoreInUse) || !strings.Contains(err.Error(), "listen") {
		return s, err
	}
	return nil, fmt.Errorf("%w; choose another address with --listen", err)
}

package broker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// StartNATS starts a NATS server in this process. If it can't use its address, the
// error says which flag chooses another.
func StartNATS(o embedded.Options) (*embedded.Server, error) {
	s, err := embedded.Start(o)
	if err == nil || errors.Is(err, embedded.ErrStoreInUse) || !strings.Contains(err.Error(), "listen") {
		return s, err
	}
	return nil, fmt.Errorf("%w; choose another address with --listen", err)
}

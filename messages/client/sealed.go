package client

import (
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"

	"github.com/lessorhq/lessor/messages"
)

// opener holds the curve seed that opens the box of one request.
type opener struct {
	seed []byte
}

// newOpener makes a new key and sets it as the xkey of the request.
func newOpener(r *messages.LeaseRequest) (*opener, error) {
	if r.XKey != "" {
		return nil, errors.New("the option Sealed makes its own key: leave XKey empty")
	}
	pair, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, fmt.Errorf("make a key for the sealed credentials: %w", err)
	}
	defer pair.Wipe()
	if r.XKey, err = pair.PublicKey(); err != nil {
		return nil, fmt.Errorf("make a key for the sealed credentials: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("make a key for the sealed credentials: %w", err)
	}
	return &opener{seed: seed}, nil
}

// open opens the box and compares its contents with the lease in the reply, because the
// box of another lease would open, too.
func (o *opener) open(box *messages.Sealed, l messages.Lease) (messages.Credentials, error) {
	c, err := messages.OpenSealed(o.seed, box)
	switch {
	case err != nil:
		return messages.Credentials{}, fmt.Errorf("the sealed credentials of lease %s: %w; it was not confirmed", l.Name, err)
	case c.Lease != l.Name || c.Identity != l.Identity:
		return messages.Credentials{}, fmt.Errorf("the box in the reply for lease %s is for lease %q; it was not confirmed", l.Name, c.Lease)
	case l.ExpiresAt.Before(c.ExpiresAt):
		return messages.Credentials{}, fmt.Errorf("the reply for lease %s states an earlier end than its box; it was not confirmed", l.Name)
	case c.Credentials.AccessKeyID == "" || c.Credentials.SecretAccessKey.IsZero():
		return messages.Credentials{}, fmt.Errorf("the box of lease %s has no credentials; it was not confirmed", l.Name)
	}
	return c.Credentials, nil
}

func (o *opener) wipe() { clear(o.seed) }

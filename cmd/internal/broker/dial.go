package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// waitFor dials until NATS is there: a broker that is started together with it may
// be the faster one. What waiting does not mend ends it: credentials that are refused
// for longer than authPatience, TLS, an address that is none.
func waitFor(ctx context.Context, log zerolog.Logger, waits func(error), dial func() (*nats.Conn, error)) (*nats.Conn, error) {
	began := time.Now()
	var told time.Time
	for wait := minDialWait; ; wait = min(2*wait, maxDialWait) {
		nc, err := dial()
		if err == nil {
			return nc, nil
		}
		if !mayCome(err) && !(errors.Is(err, nats.ErrAuthorization) && time.Since(began) < authPatience) {
			return nil, err
		}
		waits(err)
		if time.Since(told) >= tellEvery {
			log.Warn().Err(err).Msg("NATS is not there yet; the broker waits for it")
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// mayCome says whether an error of a connection that is made passes when the server,
// the network or the name is there.
func mayCome(err error) bool {
	for _, passing := range []error{
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrStaleConnection, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	if strings.Contains(err.Error(), "connections exceeded") {
		return true // of the server, or of the account: nats.go has no value for it here
	}
	// A TLS alert is one too, with the operation "remote error" or "local error".
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "read" || op.Op == "write")
}

// What bounds the waiting for NATS at a broker's start.
const (
	minDialWait = 100 * time.Millisecond
	maxDialWait = 2 * time.Second
	// tellEvery is how often the log says that the broker still waits.
	tellEvery = 30 * time.Second
	// authPatience is how long a server may refuse the broker at its start: it may
	// not have the account yet, or the service that decides who comes in.
	authPatience = 5 * time.Second
)

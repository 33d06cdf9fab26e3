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

// dialUntilReady dials until NATS answers, since a broker may be started before its NATS
// servers. It returns errors that waiting does not cure: credentials that are refused for
// longer than authPatience, TLS errors, invalid addresses. waiting is called with every
// other error.
func dialUntilReady(ctx context.Context, log zerolog.Logger, waiting func(error), dial func() (*nats.Conn, error)) (*nats.Conn, error) {
	began := time.Now()
	var logged time.Time
	for wait := minDialWait; ; wait = min(2*wait, maxDialWait) {
		nc, err := dial()
		if err == nil {
			return nc, nil
		}
		if !isTemporary(err) && !(errors.Is(err, nats.ErrAuthorization) && time.Since(began) < authPatience) {
			return nil, err
		}
		waiting(err)
		if time.Since(logged) >= logEvery {
			log.Warn().Err(err).Msg("NATS is not available yet; waiting")
			logged = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// isTemporary reports whether an error of a connection attempt may go away by itself: when
// the server starts, or the network or the name becomes available.
func isTemporary(err error) bool {
	for _, temporary := range []error{
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrStaleConnection, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, temporary) {
			return true
		}
	}
	if strings.Contains(err.Error(), "connections exceeded") {
		return true // the limit of the server or the account; nats.go has no error value for it
	}
	// A TLS alert is a net.OpError too, with the operation "remote error" or "local error".
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "read" || op.Op == "write")
}

// Limits of the wait for NATS at a broker's start.
const (
	minDialWait = 100 * time.Millisecond
	maxDialWait = 2 * time.Second
	// logEvery is how often the log says that the broker is waiting.
	logEvery = 30 * time.Second
	// authPatience is how long a server may refuse the broker's credentials at the start:
	// the account, or the auth callout service, may not be available yet.
	authPatience = 5 * time.Second
)

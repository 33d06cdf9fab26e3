package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
)

func TestTemporaryErrorsOfAConnectionAttempt(t *testing.T) {
	t.Parallel()
	crowded, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0", Configure: func(o *server.Options) { o.MaxConn = 1 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(crowded.Close)
	first, err := nats.Connect(crowded.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	_, noRoom := nats.Connect(crowded.URL())
	for _, tt := range []struct {
		err       error
		temporary bool
	}{
		{noRoom, true},
		{nats.ErrNoServers, true},
		{nats.ErrTimeout, true},
		{nats.ErrStaleConnection, true},
		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, true},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, true},
		{&net.OpError{Op: "write", Err: errors.New("reset")}, true},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		{&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, false},
		{nats.ErrAuthorization, false}, // see authPatience
		{nats.ErrSecureConnRequired, false},
		{errors.New("unexpected"), false},
	} {
		if tt.err == nil || isTemporary(fmt.Errorf("connect: %w", tt.err)) != tt.temporary {
			t.Errorf("%v: temporary is not %t", tt.err, tt.temporary)
		}
	}
}

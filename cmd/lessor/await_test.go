//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// TestServeWaitsForNATS starts a broker before its NATS server.
func TestServeWaitsForNATS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	address, health := freeAddress(t), freeAddress(t)
	p := s.start(nil, "serve", "--server", "nats://"+address, "--key-file", newKeyFile(t), "--secrets", s.secrets, "--health", health)
	p.logs("NATS is not there yet; the broker waits for it")
	if text, status := probe(health, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "no NATS server answers at nats://"+address) {
		t.Errorf("ready is %d, %s", status, text)
	}
	if text, status := probe(health, "/healthz"); status != http.StatusOK {
		t.Errorf("alive is %d, %s", status, text)
	}
	server := startNATS(t, embedded.Options{StoreDir: t.TempDir(), Listen: address})
	t.Cleanup(server.Close)
	p.logs("broker is up")
	eventually(t, "it is ready", func() bool { _, status := probe(health, "/readyz"); return status == http.StatusOK })
	at(server.URL()).ok(t, "request", "ci", "-i", "alice")
	if n := strings.Count(p.stderr.String(), "NATS is not there yet"); n != 1 {
		t.Errorf("%d lines while it waited", n)
	}
	p.stop()
}

// TestServeIsStoppedWhileItWaits: that is no failure.
func TestServeIsStoppedWhileItWaits(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil, "serve", "--server", "nats://"+freeAddress(t), "--key-file", newKeyFile(t))
	p.logs("NATS is not there yet; the broker waits for it")
	p.stop()
	p.logs("stopped before it was up")
}

// TestServeDoesNotWaitInVain: what waiting does not mend ends the broker.
func TestServeDoesNotWaitInVain(t *testing.T) {
	t.Parallel()
	start := func(change func(*server.Options)) string {
		s := startNATS(t, embedded.Options{StoreDir: t.TempDir(), Listen: freeAddress(t), Configure: change})
		t.Cleanup(s.Close)
		return s.URL()
	}
	closed := start(func(o *server.Options) { o.Username, o.Password = "broker", "right" })
	open := start(nil)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"wrong password":          {[]string{"--server", closed, "--user", "broker", "--password", "wrong"}, "refuses the connection"},
		"no creds file":           {[]string{"--server", open, "--creds", filepath.Join(t.TempDir(), "nothing.creds")}, "nothing.creds"},
		"TLS where there is none": {[]string{"--server", strings.Replace(open, "nats://", "tls://", 1)}, "connect to NATS at"},
		"an address that is none": {[]string{"--server", "nats://127.0.0.1:port"}, "connect to NATS at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newSite(t).start(nil, append([]string{"serve", "--key-file", newKeyFile(t)}, tt.args...)...)
			if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), tt.says) {
				t.Errorf("exit code %d, %s", code, p.stderr)
			}
		})
	}
}

// slowAccount lets nobody in for some times.
type slowAccount struct{ refusals atomic.Int32 }

func (a *slowAccount) Check(server.ClientAuthentication) bool { return a.refusals.Add(-1) < 0 }

// TestServeComesBackToAServerThatRefusesIt: for a while the account is not there, as
// with a resolver or a callout that is slower than the server.
func TestServeComesBackToAServerThatRefusesIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	account := &slowAccount{}
	account.refusals.Store(2) // at its first start
	o := embedded.Options{StoreDir: t.TempDir(), Listen: freeAddress(t), Configure: func(o *server.Options) { o.CustomClientAuthentication = account }}
	there, health := startNATS(t, o), freeAddress(t)
	t.Cleanup(func() { there.Close() }) // the last one
	p := s.start(nil, "serve", "--server", there.URL(), "--key-file", newKeyFile(t), "--health", health)
	p.logs("broker is up")
	there.Close()
	eventually(t, "it is not ready", func() bool { _, status := probe(health, "/readyz"); return status == http.StatusServiceUnavailable })
	account.refusals.Store(3) // after the second, nats.go would give up
	there = startNATS(t, o)
	eventually(t, "it is ready", func() bool { _, status := probe(health, "/readyz"); return status == http.StatusOK })
	if n := strings.Count(p.stderr.String(), "uthorization violation"); n > 3 {
		t.Errorf("%d lines of one refusal", n)
	}
	p.stop()
}

// TestWhatAWaitMends tells errors of a connection that is made, from a server too.
func TestWhatAWaitMends(t *testing.T) {
	t.Parallel()
	crowded := startNATS(t, embedded.Options{StoreDir: t.TempDir(), Listen: freeAddress(t), Configure: func(o *server.Options) { o.MaxConn = 1 }})
	t.Cleanup(crowded.Close)
	first, err := nats.Connect(crowded.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	_, noRoom := nats.Connect(crowded.URL())
	for _, tt := range []struct {
		err   error
		mends bool
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
		{nats.ErrAuthorization, false}, // but for a moment
		{nats.ErrSecureConnRequired, false},
		{errors.New("what nobody expects"), false},
	} {
		if tt.err == nil || mayCome(fmt.Errorf("connect: %w", tt.err)) != tt.mends {
			t.Errorf("a wait mends %v: not %t", tt.err, tt.mends)
		}
	}
}

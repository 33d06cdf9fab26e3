//go:build unix

package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

// TestServeWaitsForNATS starts a broker before its NATS server.
func TestServeWaitsForNATS(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	address, health := clitest.FreeAddress(t), clitest.FreeAddress(t)
	p := s.start(nil, "serve", "--server", "nats://"+address, "--key-file", newKeyFile(t), "--secrets", s.secrets, "--health", health)
	p.Logs("NATS is not available yet; waiting")
	if text, status := clitest.Probe(health, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "no NATS server answers at nats://"+address) {
		t.Errorf("ready is %d, %s", status, text)
	}
	if text, status := clitest.Probe(health, "/healthz"); status != http.StatusOK {
		t.Errorf("alive is %d, %s", status, text)
	}
	server := clitest.StartNATS(t, embedded.Options{StoreDir: t.TempDir(), Listen: address})
	t.Cleanup(server.Close)
	p.Logs("broker is up")
	clitest.Eventually(t, "it is ready", func() bool { _, status := clitest.Probe(health, "/readyz"); return status == http.StatusOK })
	at(server.URL()).OK(t, "request", "ci", "-i", "alice")
	if n := strings.Count(p.Stderr.String(), "NATS is not available yet"); n != 1 {
		t.Errorf("%d log lines during the wait", n)
	}
	p.Stop()
}

// TestServeCanBeStoppedWhileItWaits: the exit code is 0.
func TestServeCanBeStoppedWhileItWaits(t *testing.T) {
	t.Parallel()
	p := newProcesses(t).start(nil, "serve", "--server", "nats://"+clitest.FreeAddress(t), "--key-file", newKeyFile(t))
	p.Logs("NATS is not available yet; waiting")
	p.Stop()
	p.Logs("stopped before the broker was up")
}

// TestServeFailsOnPermanentErrors: the broker does not wait if waiting can't help.
func TestServeFailsOnPermanentErrors(t *testing.T) {
	t.Parallel()
	start := func(change func(*server.Options)) string {
		s := clitest.StartNATS(t, embedded.Options{StoreDir: t.TempDir(), Listen: clitest.FreeAddress(t), Configure: change})
		t.Cleanup(s.Close)
		return s.URL()
	}
	closed := start(func(o *server.Options) { o.Username, o.Password = "broker", "right" })
	open := start(nil)
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"wrong password":              {[]string{"--server", closed, "--user", "broker", "--password", "wrong"}, "refuses the connection"},
		"no creds file":               {[]string{"--server", open, "--creds", filepath.Join(t.TempDir(), "nothing.creds")}, "nothing.creds"},
		"TLS on a server without TLS": {[]string{"--server", strings.Replace(open, "nats://", "tls://", 1)}, "connect to NATS at"},
		"an invalid address":          {[]string{"--server", "nats://127.0.0.1:port"}, "connect to NATS at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcesses(t).start(nil, append([]string{"serve", "--key-file", newKeyFile(t)}, tt.args...)...)
			if code := p.Exit(); code != cli.ExitFailed || !strings.Contains(p.Stderr.String(), tt.says) {
				t.Errorf("exit code %d, %s", code, p.Stderr)
			}
		})
	}
}

// slowAccount refuses some connections.
type slowAccount struct{ refusals atomic.Int32 }

func (a *slowAccount) Check(server.ClientAuthentication) bool { return a.refusals.Add(-1) < 0 }

// TestServeReconnectsToAServerThatRefusesIt: the account is not available for a while, as
// with a resolver or an auth callout that starts after the server.
func TestServeReconnectsToAServerThatRefusesIt(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	account := &slowAccount{}
	account.refusals.Store(2) // at the first start
	o := embedded.Options{StoreDir: t.TempDir(), Listen: clitest.FreeAddress(t), Configure: func(o *server.Options) { o.CustomClientAuthentication = account }}
	there, health := clitest.StartNATS(t, o), clitest.FreeAddress(t)
	t.Cleanup(func() { there.Close() }) // the last one
	p := s.start(nil, "serve", "--server", there.URL(), "--key-file", newKeyFile(t), "--health", health)
	p.Logs("broker is up")
	there.Close()
	clitest.Eventually(t, "it is not ready", func() bool {
		_, status := clitest.Probe(health, "/readyz")
		return status == http.StatusServiceUnavailable
	})
	account.refusals.Store(3) // by default nats.go gives up after the second
	there = clitest.StartNATS(t, o)
	clitest.Eventually(t, "it is ready", func() bool { _, status := clitest.Probe(health, "/readyz"); return status == http.StatusOK })
	if n := strings.Count(p.Stderr.String(), "uthorization violation"); n > 3 {
		t.Errorf("%d log lines of one error", n)
	}
	p.Stop()
}

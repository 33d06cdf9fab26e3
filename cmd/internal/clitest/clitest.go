//go:build unix

package clitest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/proc"
)

// Patience is how long a test waits for what must happen.
const Patience = 30 * time.Second

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// FreeAddress is an address to listen on more than once. Its port is below those
// that systems give away by themselves, so that nobody takes it in between.
func FreeAddress(t testing.TB) string {
	t.Helper()
	all, err := proc.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// StartNATS starts a NATS server, also where another has just been: a process that
// is starting holds the listener of its parent for a moment.
func StartNATS(t testing.TB, o embedded.Options) *embedded.Server {
	t.Helper()
	var server *embedded.Server
	Eventually(t, "a NATS server starts", func() bool {
		s, err := embedded.Start(o)
		if err != nil && !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
		server = s
		return err == nil
	})
	return server
}

func Awaits(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(Patience):
		t.Fatalf("never: %s", what)
	}
}

// Probe asks for a broker's health. The status is 0 where nobody answers.
func Probe(address, path string) (text string, status int) {
	r, err := http.Get("http://" + address + path)
	if err != nil {
		return err.Error(), 0
	}
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(data), r.StatusCode
}

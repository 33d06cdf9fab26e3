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

// Eventually waits until the condition is true. The test fails after [Patience].
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// FreeAddress returns a loopback address that no process listens on. It stays free while
// the process that uses it is restarted.
func FreeAddress(t testing.TB) string {
	t.Helper()
	all, err := proc.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// StartNATS starts a NATS server. It retries while the address is in use, because a child
// process that is being started has its parent's listener open for a moment.
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

// Awaits waits until the channel is closed or has a value. The test fails after [Patience].
func Awaits(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(Patience):
		t.Fatalf("never: %s", what)
	}
}

// Probe requests a page of a broker's health server. The status is 0, and the text the
// error, if there is no answer.
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

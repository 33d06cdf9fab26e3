package lessortest_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/consumer/lessortest"
)

// TestLeaksFindsKeysInStreamsAndLogs stores and logs a key in clear. The search at the end
// of every test would find it.
func TestLeaksFindsKeysInStreamsAndLogs(t *testing.T) {
	t.Parallel()
	w := lessortest.Start(t)
	b := w.Broker()
	w.Put(b, lessortest.Secret)
	r := w.Lease("ci", "{}")
	if found := w.Leaks(); len(found) > 0 {
		t.Fatalf("a key is in clear in %v", found)
	}
	secret := r.Credentials.SecretAccessKey.Reveal()
	_, err := w.JS.Publish(w.Context(), w.Namespace.Event(w.NameOf(r), "leaked"), []byte(secret))
	w.NoError(err)
	_, err = w.Logs.Write([]byte(secret))
	w.NoError(err)
	found := w.Leaks()
	if !slices.Contains(found, "the log") || !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "LESSOR_EVENT") }) {
		t.Fatalf("the key was found only in %v", found)
	}
	b.Close() // the search at the end of this test finds nothing
	w.NATS.Close()
	w.NoError(os.RemoveAll(w.Dir))
	w.Logs.Reset()
}

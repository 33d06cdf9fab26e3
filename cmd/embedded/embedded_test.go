package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// start starts a server until the end of the test.
func start(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// bucket connects to the server and opens a bucket, which is created if it is missing.
func bucket(t *testing.T, connect func(...nats.Option) (*nats.Conn, error), replicas int) jetstream.KeyValue {
	t.Helper()
	nc, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "things", Replicas: replicas, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	if _, err := kv.PutString(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if got := string(e.Value()); got != value {
		t.Errorf("%s is %q, want %q", key, got, value)
	}
}

func TestRestartKeepsData(t *testing.T) {
	for name, durable := range map[string]bool{"default": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made", "when missing")
			s := start(t, embedded.Options{StoreDir: dir, Durable: durable})
			if s.Durable() != durable {
				t.Errorf("durable: %v", s.Durable())
			}
			put(t, bucket(t, s.Connect, 1), "a", "1")
			s.Close()
			s.Close() // may be called again

			s = start(t, embedded.Options{StoreDir: dir, Durable: durable})
			want(t, bucket(t, s.Connect, 1), "a", "1")
		})
	}
}

func TestTemporaryStoreIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := start(t, embedded.Options{})
	put(t, bucket(t, s.Connect, 1), "a", "1")
	s.Close()
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStoreOpenedTwice(t *testing.T) {
	dir := t.TempDir()
	first := start(t, embedded.Options{StoreDir: dir})
	_, err := embedded.Start(embedded.Options{StoreDir: dir})
	if !errors.Is(err, embedded.ErrStoreInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("error %v does not say that %s is in use", err, dir)
	}

	// A server that waits gets the store when the first one is closed.
	type result struct {
		s   *embedded.Server
		err error
	}
	second := make(chan result, 1)
	go func() {
		s, err := embedded.Start(embedded.Options{StoreDir: dir, LockTimeout: time.Minute})
		second <- result{s, err}
	}()
	first.Close()
	r := <-second
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.s.Close()
}

func TestListen(t *testing.T) {
	silent := start(t, embedded.Options{})
	if silent.URL() != "" {
		t.Errorf("URL is %q without listening", silent.URL())
	}
	s := start(t, embedded.Options{Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatalf("%s: %v", s.URL(), err)
	}
	nc.Close()

	// The address is taken: the error comes at once and names the cause.
	_, err = embedded.Start(embedded.Options{Listen: strings.TrimPrefix(s.URL(), "nats://")})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("second listener: %v", err)
	}
	for _, bad := range []string{"4222", "localhost", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := embedded.Start(embedded.Options{Listen: bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("listen %q: %v", bad, err)
		}
	}
}

// lockedBuffer is a buffer for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLogAndConfigure(t *testing.T) {
	var log lockedBuffer
	s := start(t, embedded.Options{
		Listen:    "127.0.0.1:0",
		Log:       zerolog.New(&log).Level(zerolog.DebugLevel),
		Configure: func(o *server.Options) { o.Username, o.Password = "u", "p" },
	})
	if _, err := nats.Connect(s.URL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a password: %v", err)
	}
	nc, err := s.Connect(nats.UserInfo("u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if l := log.String(); !strings.Contains(l, "Server is ready") || !strings.Contains(l, `"component":"nats-server"`) {
		t.Errorf("the server's log is not there:\n%s", l)
	}
}

func TestClusterSurvivesANode(t *testing.T) {
	c, err := embedded.StartCluster(3, t.TempDir(), embedded.ClusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	connect := func(i int) func(...nats.Option) (*nats.Conn, error) {
		return func(o ...nats.Option) (*nats.Conn, error) { return c.Connect(i, o...) }
	}
	kv := bucket(t, connect(0), 3)
	put(t, kv, "a", "1")

	c.Stop(0) // the connection's own node
	// Messages to the old node are lost: write until the connection has moved and the
	// bucket has a leader.
	for deadline := time.Now().Add(30 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = kv.PutString(ctx, "b", "2")
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no write after the stop of a node: %v", err)
		}
	}
	want(t, kv, "a", "1")

	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	want(t, bucket(t, connect(0), 3), "b", "2")
}

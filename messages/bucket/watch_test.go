package bucket_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages/bucket"
)

const patience = 15 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startJetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := embedded.Start(embedded.Options{})
	check(t, err)
	t.Cleanup(s.Close)
	nc, err := s.Connect()
	check(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	check(t, err)
	return js
}

func makeBucket(t *testing.T, js jetstream.JetStream, name string) *bucket.Bucket {
	t.Helper()
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name})
	check(t, err)
	b, err := bucket.Open(t.Context(), js, name)
	check(t, err)
	return b
}

// recorder is what a watcher has called.
type recorder struct {
	t      *testing.T
	calls  chan any // bucket.Entry, error or a string
	resync chan struct{}
}

// startWatcher runs a watcher until the test ends.
func startWatcher(t *testing.T, js jetstream.JetStream, name string) *recorder {
	r := &recorder{t: t, calls: make(chan any, 1000), resync: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		bucket.Watcher{
			Bucket: name, Check: 20 * time.Millisecond,
			Begin:  func(*jetstream.StreamInfo) { r.calls <- "begin" },
			Update: func(e bucket.Entry) { r.calls <- e },
			Loaded: func() { r.calls <- "loaded" },
			Broken: func(err error, _ time.Duration) { r.calls <- err },
			Resync: r.resync,
		}.Run(ctx, js)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

func (r *recorder) next() any {
	r.t.Helper()
	select {
	case c := <-r.calls:
		return c
	case <-time.After(patience):
		r.t.Fatal("the watcher calls nothing")
		return nil
	}
}

func (r *recorder) wantCall(want string) {
	r.t.Helper()
	if got := r.next(); got != want {
		r.t.Fatalf("called %v, want %s", got, want)
	}
}

func (r *recorder) wantEntry(key, value string, deleted bool) bucket.Entry {
	r.t.Helper()
	e, ok := r.next().(bucket.Entry)
	if !ok || e.Key != key || string(e.Value) != value || e.Deleted != deleted {
		r.t.Fatalf("reported %+v, want %s = %s, deleted %t", e, key, value, deleted)
	}
	return e
}

func TestWatcherReportsWhatIsThereAndThenWhatChanges(t *testing.T) {
	js := startJetStream(t)
	b := makeBucket(t, js, "b")
	revision, err := b.PutEntry(t.Context(), bucket.Entry{Key: "one.x", Value: []byte("1"), Header: nats.Header{"Colour": {"red"}}}, 0)
	check(t, err)
	_, err = b.Put(t.Context(), "two", []byte("2"), 0, 0)
	check(t, err)
	r := startWatcher(t, js, "b")
	r.wantCall("begin")
	if e := r.wantEntry("one.x", "1", false); e.Revision != revision || e.Header.Get("Colour") != "red" {
		t.Errorf("reported %+v", e)
	}
	r.wantEntry("two", "2", false)
	r.wantCall("loaded")
	check(t, b.Delete(t.Context(), "one.x", revision))
	r.wantEntry("one.x", "", true)

	r.resync <- struct{}{}
	r.wantCall("begin")
	r.wantEntry("two", "2", false)
	r.wantEntry("one.x", "", true)
	r.wantCall("loaded")
}

func TestWatcherOfEmptyBucketIsLoaded(t *testing.T) {
	js := startJetStream(t)
	makeBucket(t, js, "b")
	r := startWatcher(t, js, "b")
	r.wantCall("begin")
	r.wantCall("loaded")
}

func TestWatcherWaitsForTheBucket(t *testing.T) {
	js := startJetStream(t)
	r := startWatcher(t, js, "b")
	if err, ok := r.next().(error); !ok || !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("broken by %v", err)
	}
	makeBucket(t, js, "b")
	for {
		switch c := r.next(); c {
		case "begin":
			r.wantCall("loaded")
			return
		default:
			if _, ok := c.(error); !ok {
				t.Fatalf("called %v", c)
			}
		}
	}
}

func TestWatcherReportsTheEndOfItsConnection(t *testing.T) {
	js := startJetStream(t)
	makeBucket(t, js, "b")
	r := startWatcher(t, js, "b")
	r.wantCall("begin")
	r.wantCall("loaded")
	js.Conn().Close()
	if err, ok := r.next().(error); !ok {
		t.Fatalf("called %v", err)
	}
}

func TestPutEntryKeepsHeadersAndComparesTheRevision(t *testing.T) {
	js := startJetStream(t)
	b := makeBucket(t, js, "b")
	e := bucket.Entry{Key: "one", Value: []byte("1"), Header: nats.Header{"Colour": {"red"}}}
	var err error
	e.Revision, err = b.PutEntry(t.Context(), e, 0)
	check(t, err)
	got, err := b.Get(t.Context(), "one")
	check(t, err)
	if got.Header.Get("Colour") != "red" || got.Revision != e.Revision || string(got.Value) != "1" {
		t.Errorf("got %+v", got)
	}
	if len(e.Header) != 1 {
		t.Errorf("the caller's headers were changed: %v", e.Header)
	}
	e.Revision++
	if _, err := b.PutEntry(t.Context(), e, 0); !errors.Is(err, bucket.ErrConflict) {
		t.Errorf("at another revision: %v", err)
	}
}

func TestWatcherResumesWhenTheBucketIsDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	js := startJetStream(t)
	b := makeBucket(t, js, "b")
	_, err := b.Put(t.Context(), "before", []byte("1"), 0, 0)
	check(t, err)
	r := startWatcher(t, js, "b")
	r.wantCall("begin")
	r.wantEntry("before", "1", false)
	r.wantCall("loaded")

	check(t, js.DeleteKeyValue(t.Context(), "b"))
	b = makeBucket(t, js, "b")
	_, err = b.Put(t.Context(), "after", []byte("2"), 0, 0)
	check(t, err)
	for begun := false; ; {
		switch c := r.next().(type) {
		case error:
			if begun {
				t.Fatalf("the new watch is broken: %v", c)
			}
		case string:
			if begun = true; c == "loaded" {
				t.Fatal("loaded without the entry of the new bucket")
			}
		case bucket.Entry:
			if c.Key != "after" || string(c.Value) != "2" {
				t.Fatalf("reported %+v", c)
			}
			r.wantCall("loaded")
			return
		}
	}
}

package bucket_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages/bucket"
)

// TestScanVisitsEverythingWhileAWriterWrites scans a bucket while its entries are written
// again and others are created and deleted. Each entry that exists from the begin to the
// end of a scan is visited once.
func TestScanVisitsEverythingWhileAWriterWrites(t *testing.T) {
	t.Parallel()
	js := startJetStream(t)
	b := makeBucket(t, js, "b")
	const entries, scans = 200, 20
	key := func(i int) string { return fmt.Sprintf("kept.%d", i%entries) }
	revisions := map[string]uint64{}
	put := func(key string) {
		revision, err := b.Put(t.Context(), key, []byte(key), revisions[key], 0)
		if err != nil {
			t.Error(err)
			return
		}
		revisions[key] = revision
	}
	for i := range entries {
		put(key(i))
	}
	stop, written := make(chan struct{}), 0
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(stop)
	begun := make(chan struct{})
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				t.Logf("%d writes during %d scans", written, scans)
				return
			default:
			}
			put(key(i * 7))
			passing := fmt.Sprintf("passing.%d", i)
			put(passing)
			check(t, b.Delete(t.Context(), passing, revisions[passing]))
			if written++; written == 1 {
				close(begun)
			}
		}
	})
	<-begun
	for range scans {
		visits := map[string]int{}
		check(t, b.Scan(t.Context(), ">", func(e bucket.Entry) {
			visits[e.Key]++
			if string(e.Value) != e.Key || e.Revision == 0 {
				t.Errorf("visited %+v", e)
			}
		}))
		for i := range entries {
			if visits[key(i)] != 1 {
				t.Errorf("%s was visited %d times", key(i), visits[key(i)])
			}
		}
		for key, n := range visits {
			if n != 1 {
				t.Errorf("%s was visited %d times", key, n)
			}
		}
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
	broken := 0
	for begun := false; ; {
		switch c := r.next().(type) {
		case error:
			broken++
			if begun {
				t.Fatalf("the new watch is broken: %v", c)
			}
		case string:
			begun = begun || c == "begin"
			if c == "loaded" {
				t.Fatal("loaded without the entry of the new bucket")
			}
		case bucket.Entry:
			if c.Key != "after" || string(c.Value) != "2" {
				t.Fatalf("reported %+v", c)
			}
			return
		}
	}
}

func TestProblemOfTellsWhatPassesFromWhatIsRefused(t *testing.T) {
	t.Parallel()
	api := func(code jetstream.ErrorCode, words string) error {
		return fmt.Errorf("write x: %w", &jetstream.APIError{Code: 503, ErrorCode: code, Description: words})
	}
	for _, c := range []struct {
		err         error
		want        bucket.Problem
		unavailable bool
	}{
		{api(10_008, "JetStream system temporarily unavailable"), bucket.ProblemNoAnswer, true},
		{api(10_009, "not leader"), bucket.ProblemNoAnswer, true},
		{api(10_047, "insufficient storage resources available"), bucket.ProblemNoRoom, true},
		{api(10_002, "resource limits exceeded for account"), bucket.ProblemNoRoom, true},
		{api(10_077, "maximum bytes exceeded"), bucket.ProblemNoRoom, true},
		{api(10_077, "maximum messages per subject exceeded"), bucket.ProblemNoRoom, true}, // callers ask IsPending first
		{api(10_003, "bad request"), bucket.ProblemOther, false},
		{jetstream.ErrStreamNotFound, bucket.ProblemMissing, true},
		{jetstream.ErrNoStreamResponse, bucket.ProblemMissing, true},
		{errors.New("another"), bucket.ProblemOther, false},
	} {
		if got := bucket.ProblemOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
		if got := bucket.IsUnavailable(c.err); got != c.unavailable {
			t.Errorf("%v: unavailable %v", c.err, got)
		}
	}
	if pending := api(10_077, "maximum messages per subject exceeded"); !bucket.IsPending(pending) || bucket.MayBePartlyStored(pending) {
		t.Errorf("%v is not recognized as pending", pending)
	}
	if err := bucket.Explain(api(10_008, "x")); !errors.As(err, new(*jetstream.APIError)) {
		t.Errorf("%v has lost its cause", err)
	}
}

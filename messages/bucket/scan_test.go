package bucket_test

import (
	"fmt"
	"sync"
	"testing"

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

func TestScanVisitsEachEntryOnce(t *testing.T) {
	js := startJetStream(t)
	b := makeBucket(t, js, "b")
	for _, key := range []string{"a.1", "a.2", "b.1"} {
		_, err := b.Put(t.Context(), key, []byte(key), 0, 0)
		check(t, err)
	}
	revision, err := b.Put(t.Context(), "a.3", nil, 0, 0)
	check(t, err)
	check(t, b.Delete(t.Context(), "a.3", revision))
	for filter, want := range map[string]int{">": 3, "a.*": 2, "c.*": 0} {
		seen := map[string]int{}
		check(t, b.Scan(t.Context(), filter, func(e bucket.Entry) {
			seen[e.Key]++
			if string(e.Value) != e.Key || seen[e.Key] > 1 {
				t.Errorf("%s: visited %+v", filter, e)
			}
		}))
		if len(seen) != want {
			t.Errorf("%s: visited %v", filter, seen)
		}
	}
}

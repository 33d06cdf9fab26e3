package scheduler

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestResyncsTakeAHundredthOfTheTime(t *testing.T) {
	s := &Scheduler{cfg: Config{Resync: 5 * time.Minute}}
	for _, c := range []struct{ took, least, most time.Duration }{
		{0, 225 * time.Second, 375 * time.Second},
		{time.Second, 225 * time.Second, 375 * time.Second},
		{10 * time.Second, 750 * time.Second, 1250 * time.Second},
		{time.Hour, 45 * time.Minute, 75 * time.Minute},
	} {
		seen := map[time.Duration]bool{}
		for range 100 {
			wait := s.untilResync(c.took)
			if wait < c.least || wait > c.most {
				t.Errorf("a resync %s after one that took %s", wait, c.took)
			}
			seen[wait] = true
		}
		if len(seen) < 50 {
			t.Errorf("%d different waits: replicas read at the same time", len(seen))
		}
	}
}

// TestWatchThatGoesSilentIsBegunAnew: messages that are purged while a watch loads are
// never reported, and neither is that all are.
func TestWatchThatGoesSilentIsBegunAnew(t *testing.T) {
	s := &Scheduler{index: newIndex()}
	silentFor := func() time.Duration { return maxSilence - time.Until(s.watching.resyncAt) }
	s.watchBegins(&jetstream.StreamInfo{Created: noon})
	if d := silentFor(); d < 0 || d > time.Second {
		t.Errorf("begun anew %s too early", d)
	}
	s.watching.resyncAt = time.Now().Add(time.Second)
	s.watching.saw(1)
	if d := silentFor(); d < 0 || d > time.Second {
		t.Errorf("begun anew %s too early after an update", d)
	}
	s.watching.resyncAt = time.Now().Add(-time.Second)
	if !s.outOfDate() {
		t.Error("it is not begun anew")
	}
}

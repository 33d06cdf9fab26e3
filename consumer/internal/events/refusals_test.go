package events

import (
	"fmt"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// takeMany takes n refusals of an identity and returns how many have an event.
func takeMany(r *refusals, identity string, n int, now time.Time) (emitted int) {
	for range n {
		if r.take(identity, now) {
			emitted++
		}
	}
	return emitted
}

func TestRefusalsAreEmittedUpToALimitAMinute(t *testing.T) {
	t.Parallel()
	var r refusals
	const more = 15
	if n := takeMany(&r, "alice", maxEmitted+more, noon); n != maxEmitted {
		t.Errorf("%d events in the first minute", n)
	}
	if n := takeMany(&r, "bob", 1, noon); n != 1 {
		t.Error("another identity has no event")
	}
	if n := takeMany(&r, "alice", 1, noon.Add(time.Minute-1)); n != 0 {
		t.Error("one more event in the same minute")
	}
	if n := takeMany(&r, "alice", maxEmitted+more, noon.Add(time.Minute)); n != maxEmitted {
		t.Errorf("%d events in the second minute", n)
	}
	drained := r.drain(noon.Add(2*time.Minute), false)
	if len(drained) != 1 || drained[0].identity != "alice" || drained[0].count != 2*more+1 || drained[0].id == "" {
		t.Errorf("drained %+v", drained)
	}
	if again := r.drain(noon.Add(2*time.Minute), true); len(again) != 0 {
		t.Errorf("drained twice: %+v", again)
	}
}

func TestDrainKeepsTheMinuteThatIsNotOver(t *testing.T) {
	t.Parallel()
	var r refusals
	r.omit("alice", noon)
	r.omit("bob", noon.Add(30*time.Second))
	soon := noon.Add(time.Minute)
	if d := r.drain(soon, false); len(d) != 1 || d[0].identity != "alice" || d[0].count != 1 {
		t.Errorf("drained %+v", d)
	}
	if d := r.drain(soon, true); len(d) != 1 || d[0].identity != "bob" {
		t.Errorf("the rest is %+v", d)
	}
}

func TestCountThatWasNotEmittedKeepsItsEvent(t *testing.T) {
	t.Parallel()
	var r refusals
	r.omit("alice", noon)
	first := r.drain(noon, true)
	if len(first) != 1 {
		t.Fatalf("drained %+v", first)
	}
	r.putBack(first[0])
	r.omit("alice", noon)
	again := r.drain(noon, true)
	if len(again) != 2 || again[0] != first[0] || again[1].id == first[0].id {
		t.Errorf("first %+v, then %+v", first, again)
	}
}

func TestIdentitiesAreCountedTogetherAboveALimit(t *testing.T) {
	t.Parallel()
	var r refusals
	const more = 10
	for i := range maxIdentities + more {
		r.omit(fmt.Sprint("identity-", i), noon)
	}
	drained, unknown := r.drain(noon, true), 0
	for _, o := range drained {
		if o.identity == messages.Unknown {
			unknown = o.count
		}
	}
	if len(drained) != maxIdentities+1 || unknown != more {
		t.Errorf("%d counts, and %d refusals of unknown identities", len(drained), unknown)
	}
}

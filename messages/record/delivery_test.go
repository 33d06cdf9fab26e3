package record_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func TestActiveLeaseIsDueAtTheDeliveryDeadline(t *testing.T) {
	done := noon.Add(3 * time.Second)
	for _, c := range []struct {
		name string
		ttl  time.Duration
		want time.Time
	}{
		{"deliver and ready_within", time.Hour, done.Add(45*time.Second + 20*time.Second)},
		{"never after the end of the lease", 10 * time.Second, noon.Add(10 * time.Second)},
		{"even if the end has passed", time.Second, noon.Add(time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan()
			p.TTL = messages.Duration(c.ttl)
			box := &messages.Sealed{From: "X", Box: []byte("b")}
			r := must(record.New(p, noon, timing).Activate("AKIAX", box, done, timing))
			if !r.Due.Equal(c.want) {
				t.Errorf("due at %s, want %s", r.Due, c.want)
			}
			if r.Settled() || r.Sealed != box || r.AccessKeyID != "AKIAX" {
				t.Errorf("the key is not in the record: %+v", r)
			}
			// The first call to AWS states the end of the lease, so its time counts from there.
			if !r.IssuedAt.Equal(noon) {
				t.Errorf("issued at %s, want %s", r.IssuedAt, noon)
			}
		})
	}
}

func TestDeliverSettlesUnlessTheRequesterConfirms(t *testing.T) {
	at := noon.Add(2 * time.Second)
	for _, confirm := range []bool{false, true} {
		t.Run(fmt.Sprintf("confirm %v", confirm), func(t *testing.T) {
			r := inState(messages.StateActive)
			r.Confirm = confirm
			r = must(r.Deliver(at, timing))
			if !r.DeliveredAt.Equal(at) {
				t.Errorf("delivered at %s", r.DeliveredAt)
			}
			if r.Settled() == confirm {
				t.Errorf("settled is %v", r.Settled())
			}
			due := r.ExpiresAt.Add(-timing.Expiring)
			if confirm {
				due = at.Add(10 * time.Second)
			}
			if !r.Due.Equal(due) {
				t.Errorf("due at %s, want %s", r.Due, due)
			}
			if confirm && (!r.ConfirmBy.Equal(due) || r.Action(due) != record.ActionGiveUp) {
				t.Errorf("confirm by %s, then %q", r.ConfirmBy, r.Action(due))
			}
		})
	}
}

func TestDeliverChangesNothingOnceSettled(t *testing.T) {
	r := settledLease()
	if next := must(r.Deliver(noon.Add(time.Minute), timing)); !reflect.DeepEqual(next, r) {
		t.Errorf("got\n%+v, want\n%+v", next, r)
	}
}

func TestConfirmedDropsTheCredentials(t *testing.T) {
	delivered := must(inState(messages.StateActive).Deliver(noon.Add(time.Second), timing))
	r := must(delivered.Confirmed(noon.Add(2*time.Second), timing))
	if !r.Settled() || !r.ConfirmBy.IsZero() || !r.DeliveredAt.Equal(delivered.DeliveredAt) {
		t.Errorf("got %+v", r)
	}
	if want := r.ExpiresAt.Add(-timing.Expiring); !r.Due.Equal(want) {
		t.Errorf("due at %s, want %s", r.Due, want)
	}
	if again := must(r.Confirmed(noon.Add(time.Minute), timing)); !reflect.DeepEqual(again, r) {
		t.Errorf("a second confirmation changed the record to %+v", again)
	}
}

// A broker may crash after the delivery and before it records it. The confirmation
// must still count.
func TestConfirmationCountsWithoutARecordedDelivery(t *testing.T) {
	at := noon.Add(4 * time.Second)
	r := must(inState(messages.StateActive).Confirmed(at, timing))
	if !r.Settled() || !r.DeliveredAt.Equal(at) {
		t.Errorf("got %+v", r)
	}
}

func TestEachEndIsAnnouncedOnce(t *testing.T) {
	r := settledLease()
	soon := r.ExpiresAt.Add(-timing.Expiring)
	if got := r.Action(soon); got != record.ActionAnnounce {
		t.Fatalf("before the end there is %q to do", got)
	}
	r = must(r.Announce(timing))
	if got := r.Action(r.ExpiresAt.Add(-time.Nanosecond)); got != record.ActionNone || !r.Due.Equal(r.ExpiresAt) {
		t.Errorf("announced, and there is %q to do, due at %s", got, r.Due)
	}
	r = must(r.Renew(r.ExpiresAt.Add(time.Hour), 7, noon, timing))
	if got := r.Action(r.ExpiresAt.Add(-timing.Expiring)); got != record.ActionAnnounce {
		t.Errorf("renewed, and before the new end there is %q to do", got)
	}
}

// A delivery that is not confirmed must not stay open until the end of the lease.
func TestAnnounceKeepsTheDueTimeOfAnOpenDelivery(t *testing.T) {
	r := must(inState(messages.StateActive).Deliver(noon.Add(time.Second), timing))
	next := must(r.Announce(timing))
	if !next.Due.Equal(r.Due) {
		t.Errorf("due at %s, was %s", next.Due, r.Due)
	}
	if got := next.Action(r.ConfirmBy); got != record.ActionGiveUp {
		t.Errorf("when it should be confirmed there is %q to do", got)
	}
}

func TestNoAnnouncementWithoutExpiring(t *testing.T) {
	quiet := record.Timing{}.WithDefaults()
	r := must(inState(messages.StateActive).Confirmed(noon, quiet))
	if !r.Due.Equal(r.ExpiresAt) || r.Action(r.Due) != record.ActionExpire {
		t.Errorf("due at %s with %q, want the end, %s", r.Due, r.Action(r.Due), r.ExpiresAt)
	}
}

package lease

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// stored is a lease in a bucket.
type stored struct {
	*natstest.Server
	t  *testing.T
	at store.Entry
}

// save writes the result of a transition.
func (s *stored) save(r record.Record, err error) store.Entry {
	s.t.Helper()
	if err == nil {
		s.at, err = s.Leases.Save(s.t.Context(), r, s.at.Revision)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.at
}

func (s *stored) load() store.Entry {
	s.t.Helper()
	e, err := s.Leases.Load(s.t.Context(), plan().Name)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *stored) deliveries() *Deliveries {
	return &Deliveries{Settings: Settings{Timing: timing, Now: func() time.Time { return noon }}, leases: s.Leases}
}

// activeStored is an active lease whose delivery is not settled.
func activeStored(t *testing.T) (*stored, store.Entry) {
	t.Helper()
	s := &stored{Server: natstest.Start(t, time.Now), t: t}
	s.save(record.New(plan(), noon, timing), nil)
	return s, s.save(s.at.Activate("AKIA1", &messages.Sealed{From: "X", Box: []byte("box")}, noon, timing))
}

// TestDeliverySettlesItsOwnAttemptOnly delivers the first attempt while NATS fails, so
// that the record can't be written. Until that succeeds the lease has ended and begun
// anew: the delivery of the first key must not count for the second.
func TestDeliverySettlesItsOwnAttemptOnly(t *testing.T) {
	t.Parallel()
	s, first := activeStored(t)
	s.save(s.at.End(messages.ReasonUndelivered, "", noon, timing))
	s.save(s.at.Ended(noon))
	s.save(s.at.Again(plan(), noon, timing))
	s.save(s.at.Activate("AKIA2", &messages.Sealed{From: "X", Box: []byte("box")}, noon, timing))
	if err := s.deliveries().save(t.Context(), request{}, first); err != nil {
		t.Fatal(err)
	}
	if e := s.load(); e.Settled() || !e.DeliveredAt.IsZero() {
		t.Fatalf("attempt %d counts as delivered at %s, and its key reached no requester", e.Attempt, e.DeliveredAt)
	}
}

// TestDeliveryIsStoredOverOtherChanges writes the record between the delivery and its
// storing.
func TestDeliveryIsStoredOverOtherChanges(t *testing.T) {
	t.Parallel()
	s, first := activeStored(t)
	s.save(s.at.Announce(timing))
	if err := s.deliveries().save(t.Context(), request{}, first); err != nil {
		t.Fatal(err)
	}
	if e := s.load(); e.DeliveredAt.IsZero() || !e.Announced {
		t.Errorf("the record is %+v", e.Record)
	}
}

func TestDeliveryDoesNotChangeALeaseInTeardown(t *testing.T) {
	t.Parallel()
	s, first := activeStored(t)
	ended := s.save(s.at.End(messages.ReasonRequested, "", noon, timing))
	if err := s.deliveries().save(t.Context(), request{}, first); err != nil {
		t.Fatal(err)
	}
	if e := s.load(); e.Revision != ended.Revision {
		t.Errorf("the record was written: %+v", e.Record)
	}
}

package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// A delivery of attempt 1 that could not be written down at once does not settle
// attempt 2, which nobody has got.
func TestADeliverySettlesItsOwnAttemptOnly(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	ctx := context.Background()
	cfg := Config{Conn: nc, Timing: record.Timing{}.WithDefaults(), Now: time.Now, EventAge: time.Hour}
	if err := cfg.ensureStreams(ctx, js); err != nil {
		t.Fatal(err)
	}
	b, err := openBucket(ctx, js, cfg.Namespace.LeaseBucket())
	if err != nil {
		t.Fatal(err)
	}
	c := &Consumer{cfg: cfg, js: js, leases: &leaseStore{bucket: b, tombstoneAge: time.Hour, memory: newMemory(nil)}}
	now := time.Now()
	plan := record.Plan{Name: messages.LeaseName{Identity: "alice", Secret: "ci", ID: "x7"}, TTL: messages.Duration(time.Hour), MaxTTL: messages.Duration(time.Hour)}
	rec := record.New(plan, now, cfg.Timing)
	var at held
	step := func(r record.Record, err error) held {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if at, err = c.leases.save(ctx, r, at.revision); err != nil {
			t.Fatal(err)
		}
		return at
	}
	step(rec, nil)
	first := step(at.Activate("AKIA1", &messages.Sealed{}, now, cfg.Timing)) // delivered; NATS goes away before that is written down
	step(at.End(messages.ReasonUndelivered, "", now, cfg.Timing))            // the scheduler gives it up
	step(at.Ended(now))
	step(at.Again(plan, now, cfg.Timing)) // and it begins anew
	step(at.Activate("AKIA2", &messages.Sealed{}, now, cfg.Timing))
	if err := c.settle(ctx, ask{}, first); err != nil {
		t.Fatal(err)
	}
	after, err := c.leases.load(ctx, first.Name())
	if err != nil {
		t.Fatal(err)
	}
	if after.Settled() || !after.DeliveredAt.IsZero() {
		t.Fatalf("attempt %d counts as delivered (%s), its credentials are gone, and nobody has got them", after.Attempt, after.DeliveredAt)
	}
}

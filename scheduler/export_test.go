package scheduler

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Lose has the index forget a lease that there is.
func (s *Scheduler) Lose(name string) { s.index.remove(name) }

// Dream has the index know a lease that there is not.
func (s *Scheduler) Dream(name string, due time.Time, revision uint64) {
	s.index.set(name, due, active, revision, 1)
}

// Knows says whether the index knows a lease.
func (s *Scheduler) Knows(name string) bool {
	_, ok := s.index.revisionOf(name)
	return ok
}

// Recalled are the leases that a scheduler knows before it reads the bucket.
func Recalled(nc *nats.Conn, now func() time.Time) (names []string) {
	s := &Scheduler{cfg: Config{Conn: nc, Now: now}.withDefaults(), index: newIndex(), rates: newRates()}
	s.js, _ = jetstream.New(nc)
	s.recall(context.Background())
	for _, e := range s.index.arena.all() {
		names = append(names, s.index.names.name(e.key))
	}
	return names
}

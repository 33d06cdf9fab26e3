package consumer

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// CachedSecret is the definition that a broker would go by now.
func CachedSecret(c *Consumer, ctx context.Context, name string) (messages.DynamicSecret, error) {
	d, err := c.secrets.cached(ctx, name)
	return d.DynamicSecret, err
}

// Publisher is what hands deliveries to NATS. The function it returns says whether
// anybody listened; stop ends it.
func Publisher(conn *nats.Conn, n messages.Namespace) (publish func(context.Context, *nats.Msg) (bool, error), stop func(), err error) {
	d, err := newDeliverer(conn, n)
	if err != nil {
		return nil, nil, err
	}
	return d.publish, d.close, nil
}

// HasReserve says whether room is kept for what ends leases, and new leases are given.
func (c *Consumer) HasReserve() bool {
	there, err := c.reserve.isThere(context.Background())
	return err == nil && there && !c.reserve.isSpent()
}

// FullOfTidying has as many wait to be tidied up as may, until the returned function is
// called.
func (c *Consumer) FullOfTidying() (free func()) {
	c.tidying.waiting.Add(maxTidying)
	return func() { c.tidying.waiting.Add(-maxTidying) }
}

// Sharing is what has those who want the same done share it.
type Sharing struct{ sharing }

// Do is its one method.
func (s *Sharing) Do(ctx context.Context, key string, f func(context.Context) (any, error)) (any, error) {
	return s.do(ctx, key, f)
}

// MaxRemembered is how many records a half of a memory takes.
const MaxRemembered = maxRemembered

// Memory is what a broker remembers of records.
type Memory struct{ *memory }

// NewMemory returns one that believes all that it has.
func NewMemory() Memory {
	return Memory{newMemory(func(messages.LeaseName, uint64) bool { return true })}
}

// Keep has a record at a revision remembered.
func (m Memory) Keep(name messages.LeaseName, revision uint64, s messages.State) {
	m.keep(held{Record: record.Record{Identity: name.Identity, Secret: name.Secret, ID: name.ID, State: s}, revision: revision})
}

// Recall returns at which revision a lease is remembered.
func (m Memory) Recall(name messages.LeaseName) (uint64, bool) {
	rec, ok := m.recall(name)
	return rec.revision, ok
}

// Len is how many records are remembered.
func (m Memory) Len() int { return len(m.younger) + len(m.older) }

// Committer is what writes to a stream.
type Committer struct{ *committer }

// NewCommitter returns one for which so many make a batch.
func NewCommitter(js jetstream.JetStream, least int) *Committer {
	return &Committer{&committer{js: js, least: least}}
}

// Publish is its one method.
func (c *Committer) Publish(ctx context.Context, msg *nats.Msg) (uint64, error) {
	return c.publish(ctx, msg)
}

// Hold has what is published wait until f returns, as if a write were under way.
func (c *Committer) Hold(f func()) {
	for !c.begin() {
		time.Sleep(time.Millisecond) // whoever wrote before looks once more for what waits
	}
	f()
	c.run()
}

// begin is to be busy, if nobody is.
func (c *Committer) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.busy
	c.busy = true
	return !was
}

// Waiting is how many wait.
func (c *Committer) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

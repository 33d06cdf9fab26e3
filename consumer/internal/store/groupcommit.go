package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/lessorhq/lessor/messages/bucket"
)

// DefaultMinBatch is the number of messages from which one atomic batch is faster than
// single writes, as measured where NATS flushes each write (lessor-bench --durable).
const DefaultMinBatch = 16

// GroupCommit writes to one stream, and is a [bucket.Publisher]. Where NATS flushes
// each write to the disk, a stream takes one write after the other. There, messages
// that are published while a write is in progress wait for it and then go as one
// atomic batch, which NATS flushes once. Each message of a batch is still compared by
// itself; if the batch is refused, halves of it and at last single messages are
// tried, so that only those are refused that would have been alone.
//
// NATS keeps a batch in files of its own until it is committed, which costs as much as
// some writes, so a batch has at least a minimum of messages.
type GroupCommit struct {
	js  jetstream.JetStream
	min int // messages in a batch; 0: there are no batches

	mu      sync.Mutex
	waiting []*write
	running bool // a goroutine writes what waits
}

// write is a message that is to be written.
type write struct {
	msg  *nats.Msg
	done chan struct{} // closed when seq and err are set
	seq  uint64
	err  error
}

// maxBatch is how many messages a batch has at most. A server takes 1000
// (nats-server, streamMaxAtomicBatchSize).
const maxBatch = 250

// NewGroupCommit returns a publisher that makes batches of at least minBatch
// messages; 0: it publishes each message alone.
func NewGroupCommit(js jetstream.JetStream, minBatch int) *GroupCommit {
	return &GroupCommit{js: js, min: minBatch}
}

// Publish writes a message and returns its sequence. If ctx ends first the message
// may have been written all the same.
func (c *GroupCommit) Publish(ctx context.Context, msg *nats.Msg) (uint64, error) {
	if c.min == 0 {
		return c.PublishAlone(ctx, msg)
	}
	w := &write{msg: msg, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	if !c.running {
		c.running = true
		go c.run() // #nosec G118 -- it outlives ctx: it also writes the messages of others
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.seq, w.err
	case <-ctx.Done():
		c.drop(w)
		return 0, ctx.Err()
	}
}

// PublishAlone writes a message without waiting for others.
func (c *GroupCommit) PublishAlone(ctx context.Context, msg *nats.Msg) (uint64, error) {
	ack, err := c.js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// drop removes a message that still waits.
func (c *GroupCommit) drop(w *write) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(other *write) bool { return other == w })
}

// stalled is how long waiting messages wait for a batch. A batch whose
// acknowledgement is lost must not hold up all others.
const stalled = 250 * time.Millisecond

// run writes what waits until nothing does.
func (c *GroupCommit) run() {
	for batch := c.next(); len(batch) > 0; batch = c.next() {
		written := make(chan struct{})
		go func() {
			defer close(written)
			ctx, cancel := context.WithTimeout(context.Background(), bucket.Timeout)
			defer cancel()
			c.write(ctx, batch)
		}()
		timer := time.NewTimer(stalled)
		select {
		case <-written:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next takes a batch of waiting messages, in their order. A message that would be
// refused because of another one in the batch (it compares itself with what is stored
// on a subject that the other writes, or has the same id) waits for the next.
func (c *GroupCommit) next() (batch []*write) {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := map[string]bool{}
	var later []*write
	for _, w := range c.waiting {
		compares, subject := conditions(w.msg)
		if len(batch) == maxBatch || slices.ContainsFunc(compares, func(s string) bool { return taken[s] }) {
			later = append(later, w)
			continue
		}
		for _, s := range append(compares, subject) {
			taken[s] = true
		}
		batch = append(batch, w)
	}
	c.waiting = later
	c.running = len(batch) > 0
	return batch
}

// conditions returns a message's subject and, in compares, what its write depends on:
// the subject whose last sequence it expects, and "id " with its message id (the space
// keeps it apart from subjects).
func conditions(m *nats.Msg) (compares []string, subject string) {
	if m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != "" {
		compares = append(compares, cmp.Or(m.Header.Get(jetstream.ExpectedLastSubjSeqSubjHeader), m.Subject))
	}
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		compares = append(compares, "id "+id)
	}
	return compares, m.Subject
}

func (c *GroupCommit) write(ctx context.Context, batch []*write) {
	if len(batch) < c.min {
		c.writeEach(ctx, batch)
		return
	}
	msgs := make([]*nats.Msg, len(batch))
	for i, w := range batch {
		msgs[i] = copyMsg(w.msg) // the batch sets headers, and w.msg may yet go alone
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, c.js, msgs, jetstreamext.BatchFlowControl{})
	switch {
	case err == nil:
		seq := ack.Sequence - ack.BatchSize // a batch has consecutive sequences
		for _, w := range batch {
			seq++
			w.finish(seq, nil)
		}
	case !wroteNothing(err):
		for _, w := range batch {
			w.finish(0, err)
		}
	case len(batch) == 1:
		c.writeEach(ctx, batch)
	default:
		c.write(ctx, batch[:len(batch)/2])
		c.write(ctx, batch[len(batch)/2:])
	}
}

// wroteNothing reports whether an error came before anything of a batch was written.
func wroteNothing(err error) bool {
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		return !bucket.MayBePartlyStored(err)
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrMaxPayload)
}

// writeEach writes each message alone.
func (c *GroupCommit) writeEach(ctx context.Context, batch []*write) {
	var all sync.WaitGroup
	for _, w := range batch {
		all.Go(func() { w.finish(c.PublishAlone(ctx, w.msg)) })
	}
	all.Wait()
}

func (w *write) finish(seq uint64, err error) {
	w.seq, w.err = seq, err
	close(w.done)
}

func copyMsg(m *nats.Msg) *nats.Msg {
	c := nats.NewMsg(m.Subject)
	c.Data = m.Data
	for name, values := range m.Header {
		c.Header[name] = values
	}
	return c
}

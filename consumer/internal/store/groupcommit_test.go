package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// group is a stream and a group commit that writes to it.
type group struct {
	t      *testing.T
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	*GroupCommit
}

func newGroup(t *testing.T, minBatch int, change func(*jetstream.StreamConfig)) *group {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	g := &group{t: t}
	if g.nc, err = s.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.nc.Close)
	if g.js, err = jetstream.New(g.nc); err != nil {
		t.Fatal(err)
	}
	cfg := jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}, MaxMsgsPerSubject: 1, AllowAtomicPublish: true}
	if change != nil {
		change(&cfg)
	}
	if g.stream, err = g.js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	g.GroupCommit = NewGroupCommit(g.js, minBatch)
	return g
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// hold makes published messages wait until f returns, as if a write were in progress.
func (g *group) hold(f func()) {
	for !g.claim() {
		time.Sleep(time.Millisecond) // the goroutine that wrote before looks once more for what waits
	}
	f()
	g.run()
}

// claim takes the place of the goroutine that writes, if there is none.
func (g *group) claim() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	free := !g.running
	g.running = true
	return free
}

// waitingCount returns how many messages wait.
func (g *group) waitingCount() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// compared is a message for a key that must be at a revision.
func compared(key string, revision uint64, body string) *nats.Msg {
	m := nats.NewMsg("x." + key)
	m.Data = []byte(body)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return m
}

// atOnce publishes messages at the same time, and returns the sequence and the error of
// each.
func (g *group) atOnce(msgs ...*nats.Msg) (seqs []uint64, errs []error) {
	g.t.Helper()
	seqs, errs = make([]uint64, len(msgs)), make([]error, len(msgs))
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	var all sync.WaitGroup
	g.hold(func() { // otherwise the first would be written before there is another
		for i, m := range msgs {
			all.Go(func() { seqs[i], errs[i] = g.Publish(ctx, m) })
		}
		for g.waitingCount() < len(msgs) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	all.Wait()
	return seqs, errs
}

// last returns the message at a key.
func (g *group) last(key string) *jetstream.RawStreamMsg {
	g.t.Helper()
	m, err := g.stream.GetLastMsgForSubject(g.t.Context(), "x."+key)
	if err != nil {
		g.t.Fatal(err)
	}
	return m
}

func isBatched(m *jetstream.RawStreamMsg) bool { return m.Header.Get("Nats-Batch-Id") != "" }

func isRefused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

func TestMessagesPublishedAtOnceAreCommittedInBatches(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	const n = 300 // more than a batch takes
	var msgs []*nats.Msg
	for i := range n {
		msgs = append(msgs, compared(strconv.Itoa(i), 0, "body "+strconv.Itoa(i)))
	}
	seqs, errs := g.atOnce(msgs...)
	batches := map[string]int{}
	for i := range n {
		m := g.last(strconv.Itoa(i))
		if errs[i] != nil || m.Sequence != seqs[i] || string(m.Data) != "body "+strconv.Itoa(i) {
			t.Fatalf("message %d: stored at %d with %q; Publish returned %d, %v", i, m.Sequence, m.Data, seqs[i], errs[i])
		}
		batches[m.Header.Get("Nats-Batch-Id")]++
	}
	if len(batches) != 2 || batches[""] != 0 {
		t.Errorf("the batches are %v", batches)
	}
}

func TestRefusedMessageDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	if _, err := g.Publish(t.Context(), compared("3", 0, "old")); err != nil {
		t.Fatal(err)
	}
	var msgs []*nats.Msg
	for i := range 10 {
		msgs = append(msgs, compared(strconv.Itoa(i), 0, "new"))
	}
	seqs, errs := g.atOnce(msgs...)
	for i := range msgs {
		m := g.last(strconv.Itoa(i))
		switch {
		case i == 3:
			if !isRefused(errs[i]) || string(m.Data) != "old" {
				t.Errorf("the message for an older revision: %v; stored is %q", errs[i], m.Data)
			}
		case errs[i] != nil || string(m.Data) != "new" || m.Sequence != seqs[i]:
			t.Errorf("message %d: %v; stored is %q at %d, Publish returned %d", i, errs[i], m.Data, m.Sequence, seqs[i])
		}
	}
}

func TestOneOfTheMessagesForTheSameRevisionIsWritten(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	var msgs []*nats.Msg
	for i := range 20 {
		msgs = append(msgs, compared([]string{"a", "b"}[i%2], 0, strconv.Itoa(i)))
	}
	seqs, errs := g.atOnce(msgs...)
	won := map[string]int{}
	for i, err := range errs {
		key := []string{"a", "b"}[i%2]
		switch {
		case err == nil:
			won[key]++
			if m := g.last(key); string(m.Data) != strconv.Itoa(i) || m.Sequence != seqs[i] {
				t.Errorf("%d was written to %s at %d, and %q is stored at %d", i, key, seqs[i], m.Data, m.Sequence)
			}
		case !isRefused(err):
			t.Errorf("message %d: %v", i, err)
		}
	}
	if won["a"] != 1 || won["b"] != 1 {
		t.Errorf("written: %v", won)
	}
}

// TestCompareAndSetHoldsInBatches has many writers count up by compare-and-set: no
// increment is lost, and none counts twice.
func TestCompareAndSetHoldsInBatches(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	const writers, times, keys = 12, 20, 3
	var refused atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range times {
				for key := fmt.Sprint("n", (w+i)%keys); ; {
					value, revision := 0, uint64(0)
					if m, err := g.stream.GetLastMsgForSubject(t.Context(), "x."+key); err == nil {
						value, _ = strconv.Atoi(string(m.Data))
						revision = m.Sequence
					}
					_, err := g.Publish(t.Context(), compared(key, revision, strconv.Itoa(value+1)))
					if err == nil {
						break
					}
					if !isRefused(err) {
						t.Error(err)
						return
					}
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	sum := 0
	for k := range keys {
		n, _ := strconv.Atoi(string(g.last(fmt.Sprint("n", k)).Data))
		sum += n
	}
	if sum != writers*times {
		t.Errorf("counted %d, want %d (%d refused)", sum, writers*times, refused.Load())
	}
}

// TestDuplicateDoesNotFailItsBatch publishes messages of which some have an id that the
// stream knows.
func TestDuplicateDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute })
	event := func(id string) *nats.Msg {
		m := nats.NewMsg("x." + id)
		m.Header.Set(jetstream.MsgIDHeader, id)
		return m
	}
	if _, err := g.Publish(t.Context(), event("3")); err != nil {
		t.Fatal(err)
	}
	var msgs []*nats.Msg
	for i := range 10 {
		msgs = append(msgs, event(strconv.Itoa(i)), event(strconv.Itoa(i)))
	}
	_, errs := g.atOnce(msgs...)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	info, err := g.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.LastSeq != 10 {
		t.Errorf("10 different ids are %d messages", info.State.LastSeq)
	}
}

func TestFewMessagesAreWrittenAlone(t *testing.T) {
	t.Parallel()
	for minBatch, want := range map[int]bool{0: false, 3: true, 4: false} {
		g := newGroup(t, minBatch, nil)
		msgs := []*nats.Msg{compared("a", 0, ""), compared("b", 0, ""), compared("c", 0, "")}
		if minBatch == 0 {
			for _, m := range msgs {
				if _, err := g.Publish(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		} else if _, errs := g.atOnce(msgs...); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
		if got := isBatched(g.last("b")); got != want {
			t.Errorf("three messages, with batches from %d on: batched %v", minBatch, got)
		}
	}
}

func TestStreamWithoutAtomicPublishIsWrittenTo(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	_, errs := g.atOnce(compared("a", 0, "a"), compared("b", 0, "b"), compared("c", 0, "c"))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if m := g.last("c"); string(m.Data) != "c" {
		t.Errorf("stored is %q", m.Data)
	}
}

func TestMessageWhoseContextEndedIsNotWritten(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	ctx, cancel := context.WithCancel(t.Context())
	g.hold(func() {
		gone := make(chan error)
		go func() { _, err := g.Publish(ctx, compared("a", 0, "")); gone <- err }()
		for g.waitingCount() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("after its context ended: %v", err)
		}
	})
	if info, err := g.stream.Info(t.Context()); err != nil || info.State.LastSeq != 0 {
		t.Errorf("%d messages were written, %v", info.State.LastSeq, err)
	}
}

// TestLostAcknowledgementDelaysNoOtherWrite publishes a message to a subject without a
// stream, which is never acknowledged.
func TestLostAcknowledgementDelaysNoOtherWrite(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	received := make(chan *nats.Msg, 1)
	if _, err := g.nc.ChanSubscribe("silent", received); err != nil {
		t.Fatal(err)
	}
	silent, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = g.Publish(silent, nats.NewMsg("silent"))
	}()
	<-received
	ctx, enough := context.WithTimeout(t.Context(), 3*time.Second) // that write gives up after five
	defer enough()
	if _, err := g.Publish(ctx, compared("a", 0, "")); err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
}

// TestMessageThatComparesAnotherSubjectIsNotInItsBatch publishes two messages together of
// which one must not follow the other.
func TestMessageThatComparesAnotherSubjectIsNotInItsBatch(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	begins := nats.NewMsg("x.begins")
	begins.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	begins.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, "x.ends")
	_, errs := g.atOnce(nats.NewMsg("x.ends"), begins, compared("other", 0, ""))
	if errs[0] != nil || errs[2] != nil || errs[1] != nil && !isRefused(errs[1]) {
		t.Error(errs)
	}
	if m := g.last("other"); !isBatched(m) {
		t.Error("another message was taken out of its batch")
	}
}

func TestPublishFailsWithoutNATS(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	g.nc.Close()
	_, errs := g.atOnce(compared("a", 0, ""), compared("b", 0, ""))
	for i, err := range errs {
		if err == nil {
			t.Errorf("message %d was written", i)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	g.hold(func() {
		if _, err := g.Publish(gone, compared("c", 0, "")); !errors.Is(err, context.Canceled) {
			t.Errorf("after its context ended: %v", err)
		}
	})
}

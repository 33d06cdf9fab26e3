package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// group is a stream that is written to, and who writes.
type group struct {
	t      *testing.T
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	*consumer.Committer
}

func newGroup(t *testing.T, least int, change func(*jetstream.StreamConfig)) *group {
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
	g.Committer = consumer.NewCommitter(g.js, least)
	return g
}

// compared is a message for a key that must be at a revision.
func compared(key string, revision uint64, body string) *nats.Msg {
	m := nats.NewMsg("x." + key)
	m.Data = []byte(body)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return m
}

// at once publishes messages, all at the same time, and returns what came of each.
func (g *group) atOnce(msgs ...*nats.Msg) (seqs []uint64, errs []error) {
	g.t.Helper()
	seqs, errs = make([]uint64, len(msgs)), make([]error, len(msgs))
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	var all sync.WaitGroup
	g.Hold(func() { // or the first would go before there is another
		for i, m := range msgs {
			all.Go(func() { seqs[i], errs[i] = g.Publish(ctx, m) })
		}
		for g.Waiting() < len(msgs) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	all.Wait()
	return seqs, errs
}

// last is what stands at a key.
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

func TestWhatIsWrittenAtOnceIsCommittedTogether(t *testing.T) {
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
			t.Fatalf("message %d: at %d with %q; told %d, %v", i, m.Sequence, m.Data, seqs[i], errs[i])
		}
		batches[m.Header.Get("Nats-Batch-Id")]++
	}
	if len(batches) != 2 || batches[""] != 0 {
		t.Errorf("the batches are %v", batches)
	}
}

// One that is out of date is refused, and no other with it.
func TestOneThatIsRefusedTakesNoneAlong(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	if _, err := g.Publish(t.Context(), compared("3", 0, "was here")); err != nil {
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
			if !isRefused(errs[i]) || string(m.Data) != "was here" {
				t.Errorf("the one that is out of date: %v; there is %q", errs[i], m.Data)
			}
		case errs[i] != nil || string(m.Data) != "new" || m.Sequence != seqs[i]:
			t.Errorf("message %d: %v; there is %q at %d, told %d", i, errs[i], m.Data, m.Sequence, seqs[i])
		}
	}
}

// Of those that want the same revision of a key one wins.
func TestOneOfManyAtTheSameKeyWins(t *testing.T) {
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
				t.Errorf("%d won %s at %d, and %q is there at %d", i, key, seqs[i], m.Data, m.Sequence)
			}
		case !isRefused(err):
			t.Errorf("message %d: %v", i, err)
		}
	}
	if won["a"] != 1 || won["b"] != 1 {
		t.Errorf("won %v", won)
	}
}

// Many count up by compare-and-set: nothing is lost, and nothing counts twice.
func TestCompareAndSetHoldsInGroups(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	const who, times, keys = 12, 20, 3
	var refused atomic.Int64
	var all sync.WaitGroup
	for w := range who {
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
	if sum != who*times {
		t.Errorf("counted %d, want %d (%d refused)", sum, who*times, refused.Load())
	}
}

// An event that is told again is no reason to lose those beside it.
func TestADuplicateTakesNoneAlong(t *testing.T) {
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
		t.Errorf("10 events are %d messages", info.State.LastSeq)
	}
}

func TestFewGoByThemselves(t *testing.T) {
	t.Parallel()
	for least, want := range map[int]bool{0: false, 3: true, 4: false} {
		g := newGroup(t, least, nil)
		msgs := []*nats.Msg{compared("a", 0, ""), compared("b", 0, ""), compared("c", 0, "")}
		if least == 0 {
			for _, m := range msgs {
				if _, err := g.Publish(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		} else if _, errs := g.atOnce(msgs...); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
		if got := isBatched(g.last("b")); got != want {
			t.Errorf("three, where %d make a batch: batched %v", least, got)
		}
	}
}

// A stream that takes no batches is written to all the same.
func TestAStreamThatTakesNoBatches(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	_, errs := g.atOnce(compared("a", 0, "a"), compared("b", 0, "b"), compared("c", 0, "c"))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if m := g.last("c"); string(m.Data) != "c" {
		t.Errorf("there is %q", m.Data)
	}
}

// What nobody waits for any more is not written.
func TestWhoGoesAwayTakesItBack(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	ctx, cancel := context.WithCancel(t.Context())
	g.Hold(func() {
		gone := make(chan error)
		go func() { _, err := g.Publish(ctx, compared("a", 0, "")); gone <- err }()
		for g.Waiting() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who went away has %v", err)
		}
	})
	if info, err := g.stream.Info(t.Context()); err != nil || info.State.LastSeq != 0 {
		t.Errorf("%d messages were written, %v", info.State.LastSeq, err)
	}
}

// One whose acknowledgement does not come holds up nobody else for as long as it waits.
func TestALostAcknowledgementHoldsUpNobody(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, nil)
	heard := make(chan *nats.Msg, 1)
	if _, err := g.nc.ChanSubscribe("silent", heard); err != nil {
		t.Fatal(err)
	}
	silent, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = g.Publish(silent, nats.NewMsg("silent"))
	}()
	<-heard
	ctx, enough := context.WithTimeout(t.Context(), 3*time.Second) // the silent one has five
	defer enough()
	if _, err := g.Publish(ctx, compared("a", 0, "")); err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
}

// An end that is told and a beginning that must not come after it are no group.
func TestWhatComparesItselfWithAnotherSubject(t *testing.T) {
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
		t.Error("another was taken out of its group")
	}
}

// Without NATS who waits is told so, and who goes away does not wait.
func TestAGroupWithoutNATSEnds(t *testing.T) {
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
	g.Hold(func() {
		if _, err := g.Publish(gone, compared("c", 0, "")); !errors.Is(err, context.Canceled) {
			t.Errorf("who went away has %v", err)
		}
	})
}

// The broker as it runs where NATS flushes each write: many leases at once, each of
// which is whole.
func TestLeasesThatAreWrittenTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.broker(func(c *consumer.Config) { c.Streams.GroupCommit = 2; c.Workers.Request, c.Workers.Revoke = 64, 64 })
	w.put(b, plainSecret)
	batched := w.batches()
	const n = 60
	var answers []*nats.Subscription
	for range n {
		answers = append(answers, w.publish(w.ns.Request("alice", "ci"), ""))
	}
	var leases []messages.Reply
	for _, sub := range answers {
		r, _ := w.answer(sub)
		if r.Kind != messages.KindCredentials {
			t.Fatalf("%+v %v", r, r.Error)
		}
		leases = append(leases, r)
	}
	for i, r := range leases {
		answers[i] = w.publish(w.ns.Revoke(nameOf(w, r)), "")
	}
	for _, sub := range answers {
		if r, _ := w.answer(sub); r.Kind != messages.KindRevoked {
			t.Fatalf("%+v %v", r, r.Error)
		}
	}
	w.quiet()
	for _, r := range leases {
		w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
		w.over(r, messages.ReasonRequested)
	}
	w.nothingInAWS()
	for what, n := range batched() {
		if n == 0 {
			t.Errorf("no %s was written with others", what)
		}
	}
}

// batches counts, until what it returns is called, the batches of records and events.
func (w *world) batches() func() map[string]int {
	w.t.Helper()
	subs := map[string]*nats.Subscription{}
	for what, subject := range map[string]string{"record": "$KV." + w.ns.LeaseBucket() + ".>", "event": w.ns.EventFilter()} {
		sub, err := w.nc.SubscribeSync(subject)
		w.ok(err)
		subs[what] = sub
	}
	w.ok(w.nc.Flush())
	return func() map[string]int {
		w.ok(w.nc.Flush())
		n := map[string]int{}
		for what, sub := range subs {
			n[what] = 0
			for {
				m, err := sub.NextMsg(10 * time.Millisecond)
				if err != nil {
					break
				}
				if seq, _ := strconv.Atoi(m.Header.Get("Nats-Batch-Sequence")); seq > 1 {
					n[what]++
				}
			}
		}
		return n
	}
}

// TestABrokerDiesWithWhatItWritesTogether kills a broker with some requests in its
// hands whose writes go together, at one effect and then at another, in the middle of
// batches, too. Another finishes what it has begun.
func TestABrokerDiesWithWhatItWritesTogether(t *testing.T) {
	t.Parallel()
	const requests = 6
	for n := 1; n <= 12*requests; n += 5 {
		m := newMortal(n, n%2 == 0)
		t.Run(m.String(), func(t *testing.T) {
			w := newWorld(t)
			first := w.broker()
			w.put(first, plainSecret)
			first.stop()
			victim := w.mortalBroker(m, quickChores, func(c *consumer.Config) { c.Streams.GroupCommit = 2 })
			m.arm()
			var answers []*nats.Subscription
			for range requests {
				answers = append(answers, w.publish(w.ns.Request("alice", "ci"), `{"ttl":"1h"}`))
			}
			w.diesOrFinishes(m, 0)
			victim.die()
			m.bury()
			w.broker(quickChores)
			for _, sub := range answers {
				lease, _ := w.answer(sub)
				if lease.Kind != messages.KindCredentials || !w.works(lease.Credentials) {
					t.Fatalf("not served: %+v %v", lease, lease.Error)
				}
				w.oneKey(sub, lease)
			}
			w.quiet()
			w.everyUserHasALease()
			w.eventually("each request has one user with one key", func() bool {
				users := w.sim.Users()
				return len(users) == requests && !slices.ContainsFunc(users, func(u iamsim.User) bool { return len(u.AccessKeys) != 1 })
			})
			w.endAll()
		})
	}
}

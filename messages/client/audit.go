package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
)

// auditSkew is how far the clocks of NATS servers may be apart, which set the times of
// events and marks.
const auditSkew = time.Minute

// auditPatience is how often the end of the stream is asked for again: a server that
// follows the stream's leader may be behind.
const auditPatience = 4

// AuditOptions say what the events are held against.
type AuditOptions struct {
	// Namespace is the installation's; the zero value is that of the prefix
	// "lessor".
	Namespace messages.Namespace
	// Keys are the brokers' audit keys, of all times from which events are kept.
	Keys []messages.AuditKey
	// AtLeast is the sequence of an event that there was, written down elsewhere; 0:
	// none. It is what finds an end that was cut off together with the marks.
	AtLeast uint64
}

// Audit is what came of verifying the events.
type Audit struct {
	Events int       `json:"events"`
	First  uint64    `json:"first"` // sequences in the stream; 0: there is no event
	Last   uint64    `json:"last"`
	From   time.Time `json:"from,omitzero"` // when they were stored
	Until  time.Time `json:"until,omitzero"`
	Marks  int       `json:"marks"`
	// Findings are in the order of the stream; none is a stream in which nothing was
	// changed, forged, or removed before its time.
	Findings []AuditFinding `json:"findings"`
}

// AuditFinding is something that should not be.
type AuditFinding struct {
	Kind     AuditKind `json:"kind"`
	Sequence uint64    `json:"sequence,omitempty"` // of the event that it is about, or the first of those
	Until    uint64    `json:"until,omitempty"`    // the last of those
	What     string    `json:"what"`
}

// AuditKind is what is wrong.
type AuditKind string

// The kinds of findings.
const (
	AuditGap       AuditKind = "gap"       // events between others are not there
	AuditHead      AuditKind = "head"      // events at the beginning are not there, before their time
	AuditTail      AuditKind = "tail"      // events at the end are not there
	AuditForged    AuditKind = "forged"    // an event that no broker signed as it stands there
	AuditRepeated  AuditKind = "repeated"  // an event that stands there twice
	AuditMoved     AuditKind = "moved"     // an event at another place than it was when a mark was made
	AuditMark      AuditKind = "mark"      // a mark that no broker signed
	AuditUnguarded AuditKind = "unguarded" // a stream that takes deletions
)

// VerifyEvents reads the whole event stream and finds what was changed or removed. It
// needs the right to read the stream and the state bucket, and no other: to publish on
//
//	$JS.API.STREAM.INFO.LESSOR_EVENT
//	$JS.API.DIRECT.GET.LESSOR_EVENT
//	$JS.API.STREAM.INFO.KV_lessor_state
//	$JS.API.STREAM.MSG.GET.KV_lessor_state
func VerifyEvents(ctx context.Context, js jetstream.JetStream, o AuditOptions) (Audit, error) {
	if len(o.Keys) == 0 {
		return Audit{}, errors.New("no audit key: nothing could be verified")
	}
	// The marks first: what comes later is above them.
	marks, err := auditMarks(ctx, js, o.Namespace)
	if err != nil {
		return Audit{}, err
	}
	stream, err := js.Stream(ctx, o.Namespace.EventStream())
	if err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w; is it the brokers' account's or imported, and may the connection read it?", o.Namespace.EventStream(), err)
	}
	w := &auditWalk{o: o, seen: map[[16]byte]uint64{}, result: Audit{Marks: len(marks), Findings: []AuditFinding{}}}
	w.keepMarks(marks)
	info := stream.CachedInfo()
	if !info.Config.DenyDelete || !info.Config.DenyPurge {
		w.find(AuditUnguarded, 0, 0, "the stream takes deletions: single events may be removed, or all; a broker that starts denies them")
	}
	if err := w.read(ctx, js, info.State.LastSeq); err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w", o.Namespace.EventStream(), err)
	}
	// Events may have come of age while the stream was read.
	after, err := stream.Info(ctx)
	if err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w", o.Namespace.EventStream(), err)
	}
	w.finish(info.State, after.State.FirstSeq, info.Config.MaxAge, after.TimeStamp)
	return w.result, nil
}

func auditMarks(ctx context.Context, js jetstream.JetStream, n messages.Namespace) ([]messages.AuditMark, error) {
	kv, err := js.KeyValue(ctx, n.StateBucket())
	if err != nil {
		return nil, fmt.Errorf("read the bucket %s: %w", n.StateBucket(), err)
	}
	e, err := kv.Get(ctx, messages.AuditMarksKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the bucket %s: %w", n.StateBucket(), err)
	}
	m, err := messages.DecodeAuditMarks(e.Value())
	return m.Marks, err
}

// auditWalk goes through the stream.
type auditWalk struct {
	o      AuditOptions
	marks  []messages.AuditMark // that a broker signed, the oldest first
	next   int                  // the first mark that is not below the event at hand
	last   uint64               // the event before
	seen   map[[16]byte]uint64  // beginnings of signatures, and where they stand
	gaps   []AuditFinding
	result Audit
}

func (w *auditWalk) find(kind AuditKind, from, until uint64, format string, args ...any) {
	w.result.Findings = append(w.result.Findings, AuditFinding{Kind: kind, Sequence: from, Until: until, What: fmt.Sprintf(format, args...)})
}

func (w *auditWalk) keepMarks(marks []messages.AuditMark) {
	for _, m := range marks {
		if !m.Verify(w.o.Keys) {
			w.find(AuditMark, 0, 0, "the mark of %s is signed with none of the keys given", m.At.Format(time.RFC3339))
			continue
		}
		w.marks = append(w.marks, m)
	}
	slices.SortFunc(w.marks, func(a, b messages.AuditMark) int { return a.At.Compare(b.At) })
}

// read goes through the events that there were when it began, up to last.
func (w *auditWalk) read(ctx context.Context, js jetstream.JetStream, last uint64) error {
	r := newEventReader(js, w.o.Namespace, ">", func(e storedEvent) (bool, error) {
		if e.seq > last {
			return false, nil // it came since; what was before it is gone
		}
		w.event(e)
		return e.seq < last, nil
	})
	for asked := 0; r.last < last && !r.enough && asked < auditPatience; {
		more, err := r.page(ctx)
		if err == nil && !more && !r.enough {
			asked++
			err = sleep(ctx, eventsEvery)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// event looks at one event.
func (w *auditWalk) event(e storedEvent) {
	seq, r := e.seq, &w.result
	switch {
	case r.Events == 0:
		r.First, r.From = seq, e.at.UTC()
	case seq != w.last+1:
		w.gaps = append(w.gaps, AuditFinding{Kind: AuditGap, Sequence: w.last + 1, Until: seq - 1})
	}
	r.Events++
	w.last, r.Last, r.Until = seq, seq, e.at.UTC()

	signature := e.header.Get(messages.HeaderSignature)
	if !messages.VerifyEvent(w.o.Keys, e.subject, e.header.Get(jetstream.MsgIDHeader), e.data, signature) {
		w.find(AuditForged, seq, 0, "%s is not as a broker signed it, or with a key that was not given", e.subject)
	} else {
		var beginning [16]byte
		copy(beginning[:], signature)
		if at, ok := w.seen[beginning]; ok {
			w.find(AuditRepeated, seq, 0, "%s stands at %d, too: somebody has stored it again", e.subject, at)
		}
		w.seen[beginning] = seq
	}
	w.place(seq, e.at)
}

// place holds the time of an event against the marks before and behind it.
func (w *auditWalk) place(seq uint64, at time.Time) {
	for w.next < len(w.marks) && w.marks[w.next].Last < seq {
		w.next++
	}
	if w.next > 0 && at.Before(w.marks[w.next-1].At.Add(-auditSkew)) {
		w.find(AuditMoved, seq, 0, "it was stored at %s, and was not there at %s", at.UTC().Format(time.RFC3339), w.marks[w.next-1].At.Format(time.RFC3339))
	}
	if w.next < len(w.marks) && at.After(w.marks[w.next].At.Add(auditSkew)) {
		w.find(AuditMoved, seq, 0, "it was stored at %s, and another was in its place at %s", at.UTC().Format(time.RFC3339), w.marks[w.next].At.Format(time.RFC3339))
	}
}

// finish finds what is missing. First is the first event that there is now, maxAge how
// long they are kept (0: for good).
func (w *auditWalk) finish(s jetstream.StreamState, first uint64, maxAge time.Duration, now time.Time) {
	r := &w.result
	for _, g := range w.gaps {
		if g.Until < first {
			continue // they have come of age meanwhile
		}
		g.What = fmt.Sprintf("%d events are missing", g.Until-g.Sequence+1)
		if g.Sequence == g.Until {
			g.What = "the event is missing"
		}
		r.Findings = append(r.Findings, g)
	}
	// What was stored after a mark that is not as old as events get is still there.
	for _, m := range w.marks {
		if maxAge > 0 && m.At.Before(now.Add(auditSkew-maxAge)) {
			continue
		}
		if first > m.Last+1 {
			w.find(AuditHead, m.Last+1, first-1, "they were stored after %s, and kept for less than %s", m.At.Format(time.RFC3339), maxAge)
		}
		break
	}
	if maxAge == 0 && len(w.marks) == 0 && first > 1 {
		w.find(AuditHead, 1, first-1, "events are kept for good, and these are missing")
	}
	// The stream knows what its last event was, also where that has gone.
	if end := s.LastSeq; w.last < end && end >= first && r.Events > 0 {
		w.find(AuditTail, w.last+1, end, "the stream had them, and they are missing")
	}
	noted := w.o.AtLeast
	for _, m := range w.marks {
		noted = max(noted, m.Last)
	}
	if s.LastSeq < noted {
		w.find(AuditTail, s.LastSeq+1, noted, "there were events up to %d", noted)
	}
	slices.SortStableFunc(r.Findings, func(a, b AuditFinding) int {
		return int(min(a.Sequence, 1<<40)) - int(min(b.Sequence, 1<<40))
	})
}

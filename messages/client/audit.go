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

// auditSkew is the largest clock skew between NATS servers, whose clocks set the times
// of events and marks.
const auditSkew = time.Minute

// auditRetries is how often the end of the stream is read again, because a follower of
// the stream may be behind its leader.
const auditRetries = 4

// AuditOptions configure [VerifyEvents].
type AuditOptions struct {
	// Namespace is the namespace of the installation. The zero value has the prefix
	// "lessor".
	Namespace messages.Namespace
	// Keys are the audit keys of the brokers that signed the events in the stream.
	Keys []messages.AuditKey
	// AtLeast is the sequence of an event that the stream is known to have had; 0 is
	// unknown. It detects a truncation of both the stream and the marks.
	AtLeast uint64
}

// Audit is the result of [VerifyEvents].
type Audit struct {
	Events int       `json:"events"`
	First  uint64    `json:"first"` // sequence of the first event; 0: there is none
	Last   uint64    `json:"last"`
	From   time.Time `json:"from,omitzero"` // when the first event was stored
	Until  time.Time `json:"until,omitzero"`
	Marks  int       `json:"marks"`
	// Findings are in the order of the stream. Without findings, no event was changed,
	// forged, or removed before its age limit.
	Findings []AuditFinding `json:"findings"`
}

// AuditFinding is an inconsistency of the event stream.
type AuditFinding struct {
	Kind     AuditKind `json:"kind"`
	Sequence uint64    `json:"sequence,omitempty"` // of the event, or of the first one
	Until    uint64    `json:"until,omitempty"`    // of the last event, if there are several
	What     string    `json:"what"`
}

// AuditKind is the kind of a finding.
type AuditKind string

// The kinds of findings.
const (
	AuditGap       AuditKind = "gap"       // events are missing between others
	AuditHead      AuditKind = "head"      // events at the beginning are missing before their age limit
	AuditTail      AuditKind = "tail"      // events at the end are missing
	AuditForged    AuditKind = "forged"    // an event without a valid signature
	AuditRepeated  AuditKind = "repeated"  // an event that is stored twice
	AuditMoved     AuditKind = "moved"     // an event whose sequence contradicts a mark
	AuditMark      AuditKind = "mark"      // a mark without a valid signature
	AuditUnguarded AuditKind = "unguarded" // the stream allows deletions
)

// VerifyEvents reads the whole event stream and returns what was changed or removed. An
// error means that the stream could not be read. VerifyEvents only needs the permission
// to read the stream and the state bucket: to publish on
//
//	$JS.API.STREAM.INFO.LESSOR_EVENT
//	$JS.API.DIRECT.GET.LESSOR_EVENT
//	$JS.API.STREAM.INFO.KV_lessor_state
//	$JS.API.STREAM.MSG.GET.KV_lessor_state
func VerifyEvents(ctx context.Context, js jetstream.JetStream, o AuditOptions) (Audit, error) {
	if len(o.Keys) == 0 {
		return Audit{}, errors.New("no audit key to verify with")
	}
	// The marks are read first, so that they are not newer than the stream.
	marks, err := auditMarks(ctx, js, o.Namespace)
	if err != nil {
		return Audit{}, err
	}
	stream, err := js.Stream(ctx, o.Namespace.EventStream())
	if err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w; is this the brokers' account or is the stream imported, and may the connection read it?", o.Namespace.EventStream(), err)
	}
	w := &auditWalk{o: o, seen: map[[16]byte]uint64{}, result: Audit{Marks: len(marks), Findings: []AuditFinding{}}}
	w.verifyMarks(marks)
	info := stream.CachedInfo()
	if !info.Config.DenyDelete || !info.Config.DenyPurge {
		w.find(AuditUnguarded, 0, 0, "the stream allows deletions: events can be deleted or purged; a broker denies them when it starts")
	}
	if err := w.read(ctx, js, info.State.LastSeq); err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w", o.Namespace.EventStream(), err)
	}
	// Events may have reached their age limit while the stream was read.
	after, err := stream.Info(ctx)
	if err != nil {
		return Audit{}, fmt.Errorf("read the stream %s: %w", o.Namespace.EventStream(), err)
	}
	w.finish(info.State, after.State.FirstSeq, info.Config.MaxAge, after.TimeStamp)
	return w.result, nil
}

// auditMarks reads the marks from the state bucket.
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

// auditWalk verifies the events in the order of the stream.
type auditWalk struct {
	o      AuditOptions
	marks  []messages.AuditMark // with valid signatures, the oldest first
	next   int                  // index of the first mark at or after the current event
	last   uint64               // sequence of the previous event
	seen   map[[16]byte]uint64  // sequences of events by the first bytes of the signature
	gaps   []AuditFinding
	result Audit
}

func (w *auditWalk) find(kind AuditKind, from, until uint64, format string, args ...any) {
	w.result.Findings = append(w.result.Findings, AuditFinding{Kind: kind, Sequence: from, Until: until, What: fmt.Sprintf(format, args...)})
}

// verifyMarks keeps the marks with a valid signature and reports the others.
func (w *auditWalk) verifyMarks(marks []messages.AuditMark) {
	for _, m := range marks {
		if !m.Verify(w.o.Keys) {
			w.find(AuditMark, 0, 0, "the mark of %s is signed with none of the keys given", m.At.Format(time.RFC3339))
			continue
		}
		w.marks = append(w.marks, m)
	}
	slices.SortFunc(w.marks, func(a, b messages.AuditMark) int { return a.At.Compare(b.At) })
}

// read verifies the events up to last, the end of the stream when the audit began.
func (w *auditWalk) read(ctx context.Context, js jetstream.JetStream, last uint64) error {
	r := newEventReader(js, w.o.Namespace, ">", func(e storedEvent) (bool, error) {
		if e.seq > last {
			return false, nil // it is newer, and the events up to last are missing
		}
		w.event(e)
		return e.seq < last, nil
	})
	for retries := 0; r.last < last && !r.stopped && retries < auditRetries; {
		more, err := r.page(ctx)
		if err == nil && !more && !r.stopped {
			retries++
			err = sleep(ctx, eventsPause)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// event verifies one event.
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
		w.find(AuditForged, seq, 0, "%s has no valid signature of any of the given keys", e.subject)
	} else {
		var prefix [16]byte
		copy(prefix[:], signature)
		if at, ok := w.seen[prefix]; ok {
			w.find(AuditRepeated, seq, 0, "%s is stored at %d, too", e.subject, at)
		}
		w.seen[prefix] = seq
	}
	w.checkTime(seq, e.at)
}

// checkTime compares the time of an event with the marks before and after it.
func (w *auditWalk) checkTime(seq uint64, at time.Time) {
	for w.next < len(w.marks) && w.marks[w.next].Last < seq {
		w.next++
	}
	if w.next > 0 && at.Before(w.marks[w.next-1].At.Add(-auditSkew)) {
		w.find(AuditMoved, seq, 0, "it was stored at %s, and at %s the stream had no such sequence yet", at.UTC().Format(time.RFC3339), w.marks[w.next-1].At.Format(time.RFC3339))
	}
	if w.next < len(w.marks) && at.After(w.marks[w.next].At.Add(auditSkew)) {
		w.find(AuditMoved, seq, 0, "it was stored at %s, and at %s the stream already had this sequence", at.UTC().Format(time.RFC3339), w.marks[w.next].At.Format(time.RFC3339))
	}
}

// finish reports missing events. first is the first sequence of the stream after the
// events were read, and maxAge the age limit of events (0: none).
func (w *auditWalk) finish(s jetstream.StreamState, first uint64, maxAge time.Duration, now time.Time) {
	r := &w.result
	for _, g := range w.gaps {
		if g.Until < first {
			continue // they have reached their age limit
		}
		g.What = fmt.Sprintf("%d events are missing", g.Until-g.Sequence+1)
		if g.Sequence == g.Until {
			g.What = "the event is missing"
		}
		r.Findings = append(r.Findings, g)
	}
	// Events after a mark that is younger than the age limit must be in the stream.
	for _, m := range w.marks {
		if maxAge > 0 && m.At.Before(now.Add(auditSkew-maxAge)) {
			continue
		}
		if first > m.Last+1 {
			w.find(AuditHead, m.Last+1, first-1, "they were stored after %s and removed before %s have passed", m.At.Format(time.RFC3339), maxAge)
		}
		break
	}
	if maxAge == 0 && len(w.marks) == 0 && first > 1 {
		w.find(AuditHead, 1, first-1, "events have no age limit, and these are missing")
	}
	// The stream keeps its last sequence after the event is deleted.
	if end := s.LastSeq; w.last < end && end >= first && r.Events > 0 {
		w.find(AuditTail, w.last+1, end, "they were stored and are missing")
	}
	known := w.o.AtLeast
	for _, m := range w.marks {
		known = max(known, m.Last)
	}
	if s.LastSeq < known {
		w.find(AuditTail, s.LastSeq+1, known, "the stream had events up to %d", known)
	}
	slices.SortStableFunc(r.Findings, func(a, b AuditFinding) int {
		return int(min(a.Sequence, 1<<40)) - int(min(b.Sequence, 1<<40))
	})
}

// Package events emits lessor's events: what happened to leases, which messages were
// rejected, what operators commanded. The event stream is the audit trail, and the
// trigger for automation.
//
// [Log] signs events and publishes them. An event is emitted before the message that
// caused it is acknowledged; after a crash it is emitted again with the same id, and
// the event stream stores it once. The order of a lease's events is fenced by the
// stream itself: [Log.EmitIssued] never comes after the end of the same key.
//
// Events about refusals are limited per identity ([Log.Refused]), so that a requester
// that is refused again and again does not push everything else out of the stream.
//
// [Marks] writes down signed marks of how far the stream has come, so that a missing
// end shows.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/record"
)

// Config is what a [Log] needs.
type Config struct {
	JS           jetstream.JetStream
	Namespace    messages.Namespace
	Installation string
	Keys         *messages.Keyring // signs the events
	Publisher    bucket.Publisher
	Wrote        func(place string, err error) // is told the outcome of each write; place is named in health reports
	Now          func() time.Time
	Log          zerolog.Logger
}

// Log emits events. It is safe for concurrent use.
type Log struct {
	Config
	refusals refusals
}

// New returns a log.
func New(cfg Config) *Log { return &Log{Config: cfg} }

// after is a condition on the event stream: the last event on a subject has this
// sequence (0: there is none). The zero value is no condition.
type after struct {
	subject  string
	sequence uint64
}

// Emit emits an event. Occurrence tells apart several events of one type about one
// lease; the same occurrence has the same id.
func (l *Log) Emit(ctx context.Context, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error {
	return l.emitAfter(ctx, after{}, name, t, occurrence, data)
}

func (l *Log) emitAfter(ctx context.Context, cond after, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error {
	e := messages.NewEvent(l.Installation, name, t, occurrence, l.Now(), data)
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	msg := nats.NewMsg(l.Namespace.Event(name, t))
	msg.Data = body
	msg.Header.Set(messages.HeaderSignature, l.Keys.SignEvent(msg.Subject, e.ID, body))
	msg.Header.Set(jetstream.MsgIDHeader, e.ID)
	if cond.subject != "" {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(cond.sequence, 10))
		msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, cond.subject)
	}
	_, err = l.Publisher.Publish(ctx, msg)
	l.Wrote(l.Namespace.EventStream(), err)
	if err != nil {
		return fmt.Errorf("event %s of %s: %w", t, name, err)
	}
	return nil
}

// EmitLease emits an event about a lease as its record has it.
func (l *Log) EmitLease(ctx context.Context, r record.Record, t messages.EventType) error {
	return l.emitLeaseAfter(ctx, after{}, r, t)
}

func (l *Log) emitLeaseAfter(ctx context.Context, cond after, r record.Record, t messages.EventType) error {
	data := messages.EventData{Lease: r.Lease()}
	occurrence := strconv.Itoa(r.Attempt)
	switch t {
	case messages.EventRenewed:
		occurrence += "." + strconv.FormatUint(r.RenewedBy, 10)
	case messages.EventExpiring:
		occurrence += "." + strconv.Itoa(r.Renewals)
	case messages.EventRevoked, messages.EventUndelivered:
		data.Reason, data.Note = r.Reason, r.Note
	case messages.EventFailed:
		data.Error = r.Failure
	case messages.EventRevokeFailed:
		data.Reason = r.Reason
		data.Error = data.Lease.Error
		occurrence += "." + strconv.Itoa(r.TeardownTries)
	}
	return l.emitAfter(ctx, cond, r.Name(), t, occurrence, data)
}

// EmitIssued emits the event issued. It returns [bucket.ErrConflict] if the end of
// the same key has been emitted: the condition on the event stream guarantees that
// issued never comes after revoked, however long this broker has stalled.
func (l *Log) EmitIssued(ctx context.Context, r record.Record) error {
	// The record may have ended meanwhile; the event states the lease as it was issued.
	r.State, r.Reason, r.EndedAt, r.ValidUntil, r.TeardownError = messages.StateActive, "", time.Time{}, time.Time{}, ""
	end := l.Namespace.Event(r.Name(), messages.EventRevoked)
	for last := uint64(0); ; {
		err := l.emitLeaseAfter(ctx, after{end, last}, r, messages.EventIssued)
		if !bucket.IsConflict(err) {
			return err
		}
		// The end that the stream has may be that of an earlier attempt.
		sequence, ended, lastErr := l.Last(ctx, r.Name(), messages.EventRevoked)
		switch {
		case lastErr != nil:
			return lastErr
		case ended.AccessKeyID == r.AccessKeyID:
			return bucket.ErrConflict
		case sequence <= last:
			return err // another one is being stored
		}
		last = sequence
	}
}

// EnsureIssued emits the event issued of a lease that is not delivered, unless the
// stream has it: the worker that was to deliver the lease may have died before.
func (l *Log) EnsureIssued(ctx context.Context, r record.Record) error {
	if r.IssuedAt.IsZero() || !r.DeliveredAt.IsZero() {
		return nil
	}
	_, last, err := l.Last(ctx, r.Name(), messages.EventIssued)
	if err != nil || last.AccessKeyID == r.AccessKeyID {
		return err // the stream drops duplicates for two minutes only
	}
	return l.EmitIssued(ctx, r)
}

// EmitEnded emits the event of a lease that has ended: failed, or revoked and before
// it undelivered if that was the reason.
func (l *Log) EmitEnded(ctx context.Context, r record.Record) error {
	if r.State == messages.StateFailed {
		return l.EmitLease(ctx, r, messages.EventFailed)
	}
	if r.Reason == messages.ReasonUndelivered {
		// It was emitted when the teardown began, unless that worker died.
		if err := l.EmitLease(ctx, r, messages.EventUndelivered); err != nil {
			return err
		}
	}
	return l.EmitLease(ctx, r, messages.EventRevoked)
}

// EnsureEnded emits the event of a lease that has ended, unless the stream has it. It
// is called before the lease begins anew: the worker that ended it may have died, and
// would find another attempt.
func (l *Log) EnsureEnded(ctx context.Context, r record.Record) error {
	t := messages.EventRevoked
	if r.State == messages.StateFailed {
		t = messages.EventFailed
	}
	_, last, err := l.Last(ctx, r.Name(), t)
	if err != nil || last.EndedAt.Equal(r.EndedAt) {
		return err
	}
	return l.EmitEnded(ctx, r)
}

// Last returns the sequence of a lease's last event of a type, and what it says of
// the lease; 0 and the zero value if there is none.
func (l *Log) Last(ctx context.Context, name messages.LeaseName, t messages.EventType) (sequence uint64, lease messages.Lease, err error) {
	ctx, cancel := context.WithTimeout(ctx, bucket.Timeout)
	defer cancel()
	s, err := l.JS.Stream(ctx, l.Namespace.EventStream())
	if err != nil {
		return 0, messages.Lease{}, fmt.Errorf("events of %s: %w", name, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, l.Namespace.Event(name, t))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, messages.Lease{}, nil
	}
	if err != nil {
		return 0, messages.Lease{}, fmt.Errorf("events of %s: %w", name, err)
	}
	e, err := messages.DecodeEvent(m.Data)
	if err != nil || e.Data.Lease == nil {
		return m.Sequence, messages.Lease{}, err
	}
	return m.Sequence, *e.Data.Lease, nil
}

// NameOf is the lease name under which a refusal is emitted: tokens that are not fit
// for a subject are replaced by [messages.Unknown], and a missing third one by id.
func NameOf(tokens []string, id string) messages.LeaseName {
	name := [3]string{messages.Unknown, messages.Unknown, messages.Unknown}
	for i := range min(len(tokens), 3) {
		if messages.CheckToken("token", tokens[i]) == nil {
			name[i] = tokens[i]
		}
	}
	if len(tokens) < 3 && id != "" {
		name[2] = id
	}
	return messages.LeaseName{Identity: name[0], Secret: name[1], ID: name[2]}
}

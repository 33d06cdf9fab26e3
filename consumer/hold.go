package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// A lease bucket that was restored from a backup knows the ends that leases had then,
// and not who was made since. By what it says, leases that were renewed since are over,
// and users that were made since are nobody's. Such a bucket is held: nothing ends
// because of a record that comes from the backup (it expired, its delivery was not
// settled, its making was not finished), and no sweep removes a user, until a person
// has seen what would go and says so. What somebody orders is done, and records that
// are written from then on count as ever.
//
// That it was restored shows: brokers write down which bucket it is, as NATS knows it by
// the time at which it was made, and how far it has come. A stream that is restored is
// made anew; one whose files were put back has gone back. Where the files of the whole
// store were put back neither shows: then whoever did it says so (Config.Restored).

// hold says that a lease bucket is held.
//
//	{"v":1,"since":"2026-11-22T22:00:00Z","sequence":4711,"why":"…"}
type hold struct {
	Version int       `json:"v"`
	Since   time.Time `json:"since"`
	// Sequence is the last one in the bucket when it was found to be restored: records
	// up to there come from the backup.
	Sequence uint64 `json:"sequence"`
	Why      string `json:"why"`
}

// mark is how far the lease bucket has come.
//
//	{"v":1,"created":"2026-11-01T08:00:00Z","sequence":5200}
type mark struct {
	Version  int       `json:"v"`
	Created  time.Time `json:"created"`  // the bucket's stream
	Sequence uint64    `json:"sequence"` // the last one in it
}

const (
	holdKey     = "hold"
	markKey     = "mark"
	holdVersion = 1
)

// holding returns the hold, or false where there is none.
func (c *Consumer) holding(ctx context.Context) (hold, bool, error) {
	h, _, err := c.loadHold(ctx)
	if errors.Is(err, errNotFound) {
		return hold{}, false, nil
	}
	return h, err == nil, err
}

// loadHold reads the hold. One that can't be read holds everything.
func (c *Consumer) loadHold(ctx context.Context) (hold, uint64, error) {
	data, revision, err := c.connections.state.get(ctx, holdKey)
	if err != nil {
		return hold{}, revision, err
	}
	var h hold
	if err := json.Unmarshal(data, &h); err != nil || h.Version != holdVersion {
		h = hold{Sequence: math.MaxUint64, Why: "what was written down about it can't be read by this broker"}
	}
	return h, revision, nil
}

// heldBack says whether nothing may end because of this record now.
func (c *Consumer) heldBack(ctx context.Context, rec held) (bool, error) {
	h, holding, err := c.holding(ctx)
	return holding && rec.revision <= h.Sequence, err
}

// lookForRestore makes sure that a bucket that was restored is held. It is done at the
// start, before anything is handled, and again and again.
func (c *Consumer) lookForRestore(ctx context.Context, starting bool) error {
	why, now, err := c.sureGoneBack(ctx)
	if err != nil {
		return err
	}
	if starting && c.cfg.Restored {
		why = "an operator said that the lease bucket was restored from a backup (--restored)"
	}
	if why != "" {
		if err := c.holdNow(ctx, why, now.Sequence); err != nil {
			return err
		}
	}
	h, holding, err := c.holding(ctx)
	if err != nil {
		return err
	}
	c.cfg.Meter.Held(holding)
	if holding && (starting || why != "") {
		c.log.Error().Str("why", h.Why).Time("since", h.Since).Uint64("sequence", h.Sequence).
			Msg("the lease bucket was restored and is held: no lease from the backup expires, and no user is swept, until an operator says so; see \"lessor restore\"")
	}
	return c.saveMark(ctx, now)
}

// looks is how often in a row it must show that a bucket was restored.
const looks = 5

// sureGoneBack says how it shows that the lease bucket was restored, where it shows
// several times in a row: a server that has just lost its place at the head of a
// stream may say once what was true before.
func (c *Consumer) sureGoneBack(ctx context.Context) (why string, now mark, err error) {
	for look := range looks {
		if look > 0 {
			if err := pause(ctx, c.cfg.RetryMin); err != nil {
				return "", now, err
			}
		}
		if why, now, err = c.goneBack(ctx); err != nil || why == "" {
			return "", now, err
		}
	}
	return why, now, nil
}

// loadMark reads the mark. One that can't be read is begun anew.
func (c *Consumer) loadMark(ctx context.Context) (m mark, known bool, revision uint64, err error) {
	data, revision, err := c.connections.state.get(ctx, markKey)
	if errors.Is(err, errNotFound) {
		return mark{}, false, revision, nil
	}
	if err == nil {
		known = json.Unmarshal(data, &m) == nil && m.Version == holdVersion
	}
	return m, known, revision, err
}

// saveMark moves the mark.
func (c *Consumer) saveMark(ctx context.Context, now mark) error {
	was, known, revision, err := c.loadMark(ctx)
	if err != nil || known && was == now {
		return err
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	_, err = c.connections.state.put(ctx, markKey, data, revision, 0)
	if errors.Is(err, errConflict) {
		return nil // another replica's is as good
	}
	return err
}

// leaseState is the mark as it should be now.
func (c *Consumer) leaseState(ctx context.Context) (mark, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	info, err := c.leases.stream.Info(ctx)
	if err != nil {
		return mark{}, fmt.Errorf("lease bucket: %w", err)
	}
	return mark{Version: holdVersion, Created: info.Created.UTC(), Sequence: info.State.LastSeq}, nil
}

// goneBack says how it shows that the lease bucket was restored; "" is not at all. The
// mark is read first: the bucket can only be further by the time that it is asked.
func (c *Consumer) goneBack(ctx context.Context) (string, mark, error) {
	was, known, _, err := c.loadMark(ctx)
	if err != nil {
		return "", was, err
	}
	now, err := c.leaseState(ctx)
	switch {
	case err != nil || !known:
		return "", now, err
	case !now.Created.Equal(was.Created):
		return fmt.Sprintf("the lease bucket is not the one that it was: it was made at %s, and that at %s",
			now.Created.Format(time.RFC3339), was.Created.Format(time.RFC3339)), now, nil
	case now.Sequence < was.Sequence:
		return fmt.Sprintf("the lease bucket has gone back: its last change is number %d, and it had been at %d", now.Sequence, was.Sequence), now, nil
	}
	return "", now, nil
}

// holdNow writes the hold, or moves one that there is on to this sequence.
func (c *Consumer) holdNow(ctx context.Context, why string, sequence uint64) error {
	for {
		_, revision, err := c.loadHold(ctx)
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
		data, err := json.Marshal(hold{Version: holdVersion, Since: c.cfg.Now().UTC(), Sequence: sequence, Why: why})
		if err != nil {
			return err
		}
		if _, err = c.connections.state.put(ctx, holdKey, data, revision, 0); !errors.Is(err, errConflict) {
			return err
		}
	}
}

// Held says why the lease bucket is held; "" is that it is not.
func (c *Consumer) Held(ctx context.Context) (why string, err error) {
	h, holding, err := c.holding(ctx)
	if err != nil || !holding {
		return "", err
	}
	return h.Why, nil
}

// adminRestore tells what waits for a person's word, or goes on.
func (c *Consumer) adminRestore(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeRestoreCommand(r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	h, revision, err := c.loadHold(ctx)
	if errors.Is(err, errNotFound) {
		return messages.Reply{Kind: messages.KindRestore, Restore: &messages.Restore{}}, nil
	}
	if err != nil {
		return messages.Reply{}, err
	}
	report := messages.Restore{Guarded: true, Since: h.Since, Why: h.Why}
	due, err := c.heldLeases(ctx, h)
	if err != nil {
		return messages.Reply{}, err
	}
	if o.Apply {
		if err := c.goOn(ctx, due, revision); err != nil {
			return messages.Reply{}, err
		}
		report.Guarded, report.Applied = false, true
	}
	if report.Sweeps, err = c.sweepNow(ctx, o.Apply); err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindRestore, Restore: bounded(report, due)}, nil
}

// heldLease is a lease that would be over by its record from the backup.
type heldLease struct {
	held
	renewed *messages.Lease // as the last event about a renewal told; nil: nothing is known of one
}

// heldLeases are the leases that would be over if their records from the backup were
// right.
func (c *Consumer) heldLeases(ctx context.Context, h hold) ([]heldLease, error) {
	var due []heldLease
	err := c.leases.eachLive(ctx, ">", func(_ string, rec held, err error) {
		if err == nil && rec.revision <= h.Sequence && endsLease(rec.Action(c.cfg.Now())) {
			due = append(due, heldLease{held: rec})
		}
	})
	if err != nil {
		return nil, err
	}
	events, err := c.js.Stream(ctx, c.cfg.Namespace.EventStream())
	if err != nil {
		return nil, err
	}
	for i := range due {
		if due[i].renewed, err = c.renewedSince(ctx, events, due[i].held); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(due, func(a, b heldLease) int { return strings.Compare(a.Name().String(), b.Name().String()) })
	return due, nil
}

// endsLease says whether a task ends a lease that is not ending yet.
func endsLease(t record.Action) bool {
	return t == record.ActionExpire || t == record.ActionGiveUp || t == record.ActionAbandon
}

// renewedSince looks in the events for an end of the lease that is later than its
// record's, and for none of its end itself.
func (c *Consumer) renewedSince(ctx context.Context, events jetstream.Stream, rec held) (*messages.Lease, error) {
	if rec.State != messages.StateActive {
		return nil, nil
	}
	last := map[messages.EventType]*jetstream.RawStreamMsg{}
	for _, t := range []messages.EventType{messages.EventRenewed, messages.EventRevoked} {
		m, err := events.GetLastMsgForSubject(ctx, c.cfg.Namespace.Event(rec.Name(), t))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, err
		}
		last[t] = m
	}
	renewed, revoked := last[messages.EventRenewed], last[messages.EventRevoked]
	if renewed == nil || revoked != nil && revoked.Sequence > renewed.Sequence {
		return nil, nil
	}
	e, err := messages.DecodeEvent(renewed.Data)
	if err != nil || e.Data.Lease == nil || !e.Data.Lease.ExpiresAt.After(rec.ExpiresAt) || e.Data.Lease.Username != rec.User.Name {
		return nil, nil // it says nothing
	}
	return e.Data.Lease, nil
}

// goOn gives the leases the end that events tell of, lifts the hold, and reminds of
// what is due then.
func (c *Consumer) goOn(ctx context.Context, due []heldLease, revision uint64) error {
	for _, l := range due {
		if l.renewed == nil {
			continue
		}
		next, err := l.Restored(l.renewed.ExpiresAt, l.renewed.Renewals, c.cfg.Timing)
		if err != nil {
			return err
		}
		if _, err := c.leases.save(ctx, next, l.revision); err != nil && !errors.Is(err, errConflict) {
			return err // a conflict: it has been renewed or revoked just now
		}
		c.log.Warn().Str("lease", l.Name().String()).Time("expired_at", l.ExpiresAt).Time("expires_at", next.ExpiresAt).
			Msg("a lease from the backup has the end again that an event tells of")
	}
	now, err := c.leaseState(ctx)
	if err == nil {
		err = c.saveMark(ctx, now) // or it would be held again
	}
	if err == nil {
		err = c.connections.state.remove(ctx, holdKey, revision)
	}
	if errors.Is(err, errConflict) {
		return messages.Errorf(messages.CodeUnavailable, "the lease bucket is held anew; look again what would go").Because(err)
	}
	if err != nil {
		return err
	}
	c.cfg.Meter.Held(false)
	c.log.Warn().Int("leases", len(due)).Msg("an operator lifts the hold on the restored lease bucket")
	for _, l := range due {
		msg := nats.NewMsg(c.cfg.Namespace.Revoke(l.Name()))
		msg.Header.Set(messages.HeaderDue, l.Due.UTC().Format(time.RFC3339))
		if err := c.store(ctx, messages.VerbRevoke, msg); err != nil && !isPending(err) {
			return nil // the scheduler reminds of them in some minutes
		}
	}
	return nil
}

// bounded adds as many of the leases as an answer has room for, and leaves out users
// beyond that.
func bounded(report messages.Restore, due []heldLease) *messages.Restore {
	report.Due = len(due)
	for _, l := range due[:min(len(due), maxReported)] {
		r := messages.RestoredLease{Name: l.Name().String(), Username: l.User.Name, State: l.State, ExpiresAt: l.ExpiresAt}
		if l.renewed != nil {
			r.RenewedUntil = l.renewed.ExpiresAt
		}
		report.Leases = append(report.Leases, r)
	}
	room := maxReported
	for i := range report.Sweeps {
		s := &report.Sweeps[i]
		report.Orphans += len(s.Orphans)
		s.Orphans = s.Orphans[:min(len(s.Orphans), room)]
		room -= len(s.Orphans)
	}
	return &report
}

// maxReported is how many leases, and how many users, a report shows.
const maxReported = 500

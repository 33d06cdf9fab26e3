package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/record"
)

const (
	// lateBound is how long a key may outlive its lease while everything breaks, but
	// one broker at least is ready; tidyBound is how long a user without a key may:
	// keys go first where AWS takes no more calls.
	lateBound = time.Minute
	tidyBound = 3 * time.Minute
	// hardBound is how long AWS may take a key after its lease's end: its times
	// have whole seconds.
	hardBound = 2 * time.Second
	// settleBound is how long everything may take to end once all is well: the
	// longest lease, and the wait before a failed revocation is tried again.
	settleBound = 3 * time.Minute
)

// soakAudit compares what AWS has with what lessor's records say.
type soakAudit struct {
	w       *soakWorld
	tally   *soakTally
	strikes map[string]int // how often in a row a lease looked wrong
	served  atomic.Int64   // for how many nanoseconds there has been a broker that was ready
	overdue map[string]overdue
	events  []byte            // all of them
	users   map[string]string // a user seen, and its key
	secrets []string          // every secret key that AWS has issued
}

// overdue is a lease that has outlived its end.
type overdue struct {
	end   time.Time
	since time.Duration // the auditor's served when that was seen first
}

func newSoakAudit(w *soakWorld, t *soakTally) *soakAudit {
	return &soakAudit{w: w, tally: t, strikes: map[string]int{}, overdue: map[string]overdue{}, users: map[string]string{}}
}

// run looks once a second.
func (a *soakAudit) run(ctx context.Context) {
	var beside sync.WaitGroup
	beside.Go(func() { a.attend(ctx) })
	defer beside.Wait()
	for ctx.Err() == nil {
		a.look(ctx)
		soakSleep(ctx, time.Second)
	}
}

// attend measures for how long there is a broker that can work.
func (a *soakAudit) attend(ctx context.Context) {
	for last, ready := time.Now(), false; ctx.Err() == nil; soakSleep(ctx, 300*time.Millisecond) {
		is := a.w.anyReady(ctx)
		now := time.Now()
		if ready && is {
			a.served.Add(int64(now.Sub(last)))
		}
		last, ready = now, is
	}
}

func (a *soakAudit) look(ctx context.Context) {
	users, err := a.w.control.users(ctx)
	if err != nil {
		return
	}
	a.judgeAll(users)
	for _, u := range users {
		// Nobody asks for less.
		if time.Since(u.Created) < 5*time.Second {
			continue
		}
		asked := time.Now()
		if rec, err := a.record(ctx, u.Lease); err == nil {
			a.judge(u, rec, asked, func() bool { return a.renewing(ctx, u.Lease) })
		}
	}
}

// judgeAll looks at all users of the account at once.
func (a *soakAudit) judgeAll(users []soakUser) {
	a.tally.most("users alive at once", len(users))
	of, twice := map[string]string{}, map[string]bool{}
	for _, u := range users {
		if u.Key != "" {
			a.users[u.Name] = u.Key
		}
		// What an operator has given up is the sweep's; the lease may begin anew.
		if other, ok := of[u.Lease]; ok && !a.tally.wasGivenUp(u.Lease) {
			twice[u.Lease] = true
			a.strike("two_users", u.Lease, "AWS has %s and %s", other, u.Name)
		}
		of[u.Lease] = u.Name
	}
	for lease := range of {
		if !twice[lease] {
			delete(a.strikes, "two_users "+lease)
		}
	}
}

// judge compares a user with its lease's record, read after it. Renewing says whether
// a renewal of the lease waits.
func (a *soakAudit) judge(u soakUser, rec record.Record, asked time.Time, renewing func() bool) {
	if rec.IssuedAt.IsZero() || rec.User.Name != u.Name {
		return
	}
	late := asked.Sub(rec.ExpiresAt)
	if !a.tally.wasGivenUp(u.Lease) {
		a.tally.most("longest time (in s) that a user outlived its lease", int(late.Seconds()))
		bound := tidyBound
		if u.Key != "" {
			bound = lateBound
			a.tally.most("longest time (in s) that a key outlived its lease", int(late.Seconds()))
		}
		if waits := a.outlives(u.Lease, rec.ExpiresAt, late); waits > bound {
			a.tally.violated("late", u.Lease, "it ended at %s; %s, due %s, %d tries to undo it: %s", rec.ExpiresAt, rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
		}
	}
	// A renewal that was stored in time counts, and moves AWS first: the record may
	// be behind for as long as NATS is away.
	if rec.Secret != soakSoft && late > hardBound && u.Allowed && !renewing() {
		a.strike("beyond", u.Lease, "it ended at %s, and AWS takes the key %s at %s; %s, renewed %d times", rec.ExpiresAt, u.Key, asked.UTC(), rec.State, rec.Renewals)
	} else {
		delete(a.strikes, "beyond "+u.Lease)
	}
}

// outlives is for how long of the time since a lease's end somebody was there to do
// something about it.
func (a *soakAudit) outlives(lease string, end time.Time, late time.Duration) time.Duration {
	was, known := a.overdue[lease]
	if late <= 0 || !known || !was.end.Equal(end) {
		a.overdue[lease] = overdue{end, time.Duration(a.served.Load())}
		return 0
	}
	return time.Duration(a.served.Load()) - was.since
}

// strike holds against a lease what is seen three times in a row: a look is not one
// moment.
func (a *soakAudit) strike(kind, lease, format string, args ...any) {
	if a.strikes[kind+" "+lease]++; a.strikes[kind+" "+lease] == 3 {
		a.tally.violated(kind, lease, format, args...)
	}
}

// record reads a lease's record, by the leader's word.
func (a *soakAudit) record(ctx context.Context, lease string) (record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	bucket := messages.Namespace{}.LeaseBucket()
	s, err := a.w.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return record.Record{}, err
	}
	m, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+lease)
	if err != nil {
		return record.Record{}, err
	}
	return record.Decode(m.Data)
}

// renewing says whether a renewal of a lease waits to be handled; also where that
// can't be found out.
func (a *soakAudit) renewing(ctx context.Context, lease string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := a.w.js.Stream(ctx, messages.Namespace{}.Stream(messages.VerbRenew))
	if err != nil {
		return true
	}
	_, err = s.GetLastMsgForSubject(ctx, "lessor.renew."+lease)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}

// settle waits until AWS has no users, the queues are empty, no lease is alive, and
// no rotation is under way.
func (a *soakAudit) settle(ctx context.Context) {
	begun := time.Now()
	for ctx.Err() == nil && time.Since(begun) < settleBound {
		users, err := a.w.control.users(ctx)
		if err == nil && len(users) == 0 {
			queued, err := a.queued(ctx)
			alive, aliveErr := a.alive(ctx)
			keys, keysErr := a.w.control.keys(ctx, soakManager)
			if errors.Join(err, aliveErr, keysErr) == nil && len(queued) == 0 && len(keys) == 1 && !slices.ContainsFunc(alive, notClosing) {
				break
			}
		}
		soakSleep(ctx, 500*time.Millisecond)
	}
	a.tally.most("seconds until all was over", int(time.Since(begun).Seconds()))
}

// notClosing says whether a lease is not even being closed. With one that is, and
// no user left in AWS, the broker only makes sure that AWS does not show a young
// user late: that takes up to two minutes, and then the wait between two tries.
func notClosing(r record.Record) bool { return r.State != messages.StateRevoking }

// queued are the queues that have messages.
func (a *soakAudit) queued(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all := map[string]uint64{}
	for _, v := range []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm} {
		s, err := a.w.js.Stream(ctx, messages.Namespace{}.Stream(v))
		if err != nil {
			return nil, err
		}
		if n := s.CachedInfo().State.Msgs; n > 0 {
			all[string(v)] = n
		}
	}
	return all, nil
}

// alive are the leases that have not ended.
func (a *soakAudit) alive(ctx context.Context) ([]record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	kv, err := a.w.js.KeyValue(ctx, messages.Namespace{}.LeaseBucket())
	if err != nil {
		return nil, err
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = watch.Stop() }()
	var all []record.Record
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e := <-watch.Updates():
			if e == nil {
				return all, nil
			}
			rec, err := record.Decode(e.Value())
			if err != nil {
				return nil, err
			}
			if !rec.State.Ended() {
				all = append(all, rec)
			}
		}
	}
}

// last is the look at what is left when everything should be over.
func (a *soakAudit) last(ctx context.Context) error {
	users, err := a.w.control.users(ctx)
	if err != nil {
		return err
	}
	alive, err := a.alive(ctx)
	if err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	queued, err := a.queued(ctx)
	if err != nil {
		return fmt.Errorf("read the queues: %w", err)
	}
	keys, err := a.w.control.keys(ctx, soakManager)
	if err != nil {
		return err
	}
	a.judgeLast(users, alive, queued, len(keys))
	var calls soakCalls
	if err := a.w.control.ask(ctx, http.MethodGet, "/calls", nil, &calls); err != nil {
		return err
	}
	a.tellCalls(calls)
	if err := a.tellRotations(ctx); err != nil {
		return err
	}
	if err := a.w.control.ask(ctx, http.MethodGet, "/secrets", nil, &a.secrets); err != nil {
		return err
	}
	return a.readEvents(ctx, alive)
}

// judgeLast counts what is left.
func (a *soakAudit) judgeLast(users []soakUser, alive []record.Record, queued map[string]uint64, keys int) {
	for _, u := range users {
		a.tally.violated("users_left", u.Name, "lease %s, since %s", u.Lease, u.Created)
	}
	for _, rec := range alive {
		if !notClosing(rec) && len(users) == 0 {
			a.tally.lost("leases with nothing left in AWS, whose young user is looked for again")
			continue
		}
		a.tally.violated("leases_left", rec.Name().String(), "%s, due %s, %d tries to undo it: %s", rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
	}
	for verb, n := range queued {
		a.tally.violated("queued", verb, "%d messages", n)
	}
	if keys != 1 {
		a.tally.violated("rotation", soakManager, "it has %d keys", keys)
	}
}

// tellRotations counts the keys that rotations have put out of use, whoever heard of it.
func (a *soakAudit) tellRotations(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	kv, err := a.w.js.KeyValue(ctx, messages.Namespace{}.StateBucket())
	if err != nil {
		return err
	}
	keys, err := kv.ListKeysFiltered(ctx, "connection.*")
	if err != nil {
		return err
	}
	for key := range keys.Keys() {
		e, err := kv.Get(ctx, key)
		var c struct {
			Retired []string `json:"retired"`
		}
		if err == nil {
			err = json.Unmarshal(e.Value(), &c)
		}
		if err != nil {
			return fmt.Errorf("read the state's %s: %w", key, err)
		}
		if len(c.Retired) > 0 {
			a.tally.add("keys of the managing user replaced", len(c.Retired))
		}
	}
	return nil
}

func (a *soakAudit) tellCalls(calls soakCalls) {
	a.tally.add("AWS calls", int(calls.Calls))
	for code, n := range calls.Codes {
		a.tally.add("AWS calls answered with "+code, n)
	}
	a.tally.add("AWS calls answered with nothing", int(calls.Empty))
	a.tally.add("AWS calls without an answer", int(calls.Dropped))
	a.tally.broke(awsFaults, 100*calls.faults()/max(1, int(calls.Calls)))
}

// readEvents keeps the events, and judges the story that they tell.
func (a *soakAudit) readEvents(ctx context.Context, alive []record.Record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var all []messages.Event
	for e, err := range client.Events(ctx, a.w.js, messages.Namespace{}, client.EventFilter{}) {
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		a.events = append(append(a.events, data...), '\n')
		all = append(all, e)
	}
	a.judgeEvents(all, alive)
	return os.WriteFile(filepath.Join(a.w.dir, "events.jsonl"), a.events, 0o600)
}

// judgeEvents makes sure that of each key beginning and end are told, once and in
// this order. Those of leases that are alive need no end.
func (a *soakAudit) judgeEvents(events []messages.Event, alive []record.Record) {
	begun, over := map[string]string{}, map[string]bool{} // by attempt, for a lease may be begun anew
	undelivered, given := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		a.tally.add("events told", 1)
		kind := messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease."))
		attempt := strings.TrimSuffix(e.ID, "."+string(kind))
		key := ""
		if e.Data.Lease != nil {
			key = e.Data.Lease.AccessKeyID
		}
		if isAnswered(kind, e) {
			given[e.Data.Lease.Labels[soakLabel]] = true
		}
		switch kind {
		case messages.EventIssued:
			if over[attempt] {
				a.tally.violated("order", e.Subject, "its event issued (%s) came after the one of its end", attempt)
			}
			if other, ok := begun[attempt]; ok && other != key {
				a.tally.violated("two_keys", e.Subject, "events tell of the keys %s and %s", other, key)
			}
			begun[attempt] = key
		case messages.EventUndelivered:
			undelivered[e.Subject] = true
		case messages.EventRevoked, messages.EventFailed:
			if _, ok := begun[attempt]; !ok && !over[attempt] && kind == messages.EventRevoked && key != "" {
				a.tally.violated("untold", e.Subject, "the key %s was revoked (%s), and no event has told of it before", key, attempt)
			}
			over[attempt] = true
		case messages.EventOrphanRemoved:
			if a.tally.wasGivenUp(e.Subject) || strings.HasPrefix(e.Subject, soakLost) {
				a.tally.add("users without a lease that the sweep removed", 1)
			} else {
				a.tally.lost("users that only the sweep found")
			}
		}
	}
	a.tally.judgeKeys(undelivered)
	a.tally.judgeOwed(given)
	closing := map[string]bool{} // they have been counted
	for _, rec := range alive {
		closing[rec.Name().String()] = true
	}
	for attempt := range begun {
		lease := attempt[:strings.LastIndex(attempt, ".")]
		if !over[attempt] && !closing[lease] {
			a.tally.violated("untold", lease, "its event issued (%s) has no end", attempt)
		}
	}
}

// isAnswered says whether an event tells that the requester of a lease was, or was just
// about to be, given an answer.
func isAnswered(kind messages.EventType, e messages.Event) bool {
	switch {
	case e.Data.Lease == nil:
		return false
	case kind == messages.EventFailed:
		return e.Data.Error != nil && e.Data.Error.Code != messages.CodeAbandoned
	}
	return kind == messages.EventIssued
}

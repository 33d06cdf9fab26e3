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
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

const (
	// lateBound is how long a user may outlive its lease while everything breaks.
	lateBound = time.Minute
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
	strikes map[string]int    // how often in a row a lease looked wrong
	events  []byte            // all of them
	users   map[string]string // a user seen, and its key
	secrets []string          // every secret key that AWS has issued
}

func newSoakAudit(w *soakWorld, t *soakTally) *soakAudit {
	return &soakAudit{w: w, tally: t, strikes: map[string]int{}, users: map[string]string{}}
}

// run looks once a second.
func (a *soakAudit) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.look(ctx)
		soakSleep(ctx, time.Second)
	}
}

func (a *soakAudit) look(ctx context.Context) {
	users, err := a.w.control.users(ctx)
	if err != nil {
		return
	}
	a.tally.most("users alive at once", len(users))
	of := map[string]string{}
	for _, u := range users {
		if other, ok := of[u.Lease]; ok {
			a.strike(ctx, "two_users", u.Lease, "AWS has %s and %s", other, u.Name)
		}
		of[u.Lease] = u.Name
		if u.Key != "" {
			a.users[u.Name] = u.Key
		}
		// Nobody asks for less.
		if time.Since(u.Created) > 5*time.Second {
			a.lookAt(ctx, u)
		}
	}
}

// lookAt compares one user with its record.
func (a *soakAudit) lookAt(ctx context.Context, u soakUser) {
	asked := time.Now()
	rec, err := a.record(ctx, u.Lease)
	if err != nil || rec.IssuedAt.IsZero() || rec.User.Name != u.Name {
		return
	}
	late := asked.Sub(rec.ExpiresAt)
	a.tally.most("longest time (in s) that a user outlived its lease", int(late.Seconds()))
	if late > lateBound {
		a.tally.violated("late", u.Lease, "it ended at %s; %s, due %s, %d tries to undo it: %s", rec.ExpiresAt, rec.State, rec.Due, rec.UndoTries, rec.UndoError)
	}
	// A renewal that was stored in time counts, and moves AWS first: the record may
	// be behind for as long as NATS is away.
	if rec.Secret == soakHard && late > hardBound && u.Allowed && !a.renewing(ctx, u.Lease) {
		a.strike(ctx, "beyond", u.Lease, "it ended at %s, and AWS takes the key %s at %s; %s, renewed %d times", rec.ExpiresAt, u.Key, asked.UTC(), rec.State, rec.Renewals)
	} else {
		delete(a.strikes, "beyond "+u.Lease)
	}
}

// strike holds against a lease what is seen three times: a look is not one moment.
func (a *soakAudit) strike(_ context.Context, kind, lease, format string, args ...any) {
	if a.strikes[kind+" "+lease]++; a.strikes[kind+" "+lease] == 3 {
		a.tally.violated(kind, lease, format, args...)
	}
}

// record reads a lease's record, by the leader's word.
func (a *soakAudit) record(ctx context.Context, lease string) (messages.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	bucket := messages.Namespace{}.LeaseBucket()
	s, err := a.w.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return messages.Record{}, err
	}
	m, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+lease)
	if err != nil {
		return messages.Record{}, err
	}
	return messages.DecodeRecord(m.Data)
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

// settle waits until AWS has no users, the queues are empty and no lease is alive.
func (a *soakAudit) settle(ctx context.Context) {
	begun := time.Now()
	for ctx.Err() == nil && time.Since(begun) < settleBound {
		users, err := a.w.control.users(ctx)
		if err == nil && len(users) == 0 {
			queued, err := a.queued(ctx)
			alive, aliveErr := a.alive(ctx)
			if err == nil && aliveErr == nil && len(queued) == 0 && !slices.ContainsFunc(alive, notClosing) {
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
func notClosing(r messages.Record) bool { return r.State != messages.StateRevoking }

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
func (a *soakAudit) alive(ctx context.Context) ([]messages.Record, error) {
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
	var all []messages.Record
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e := <-watch.Updates():
			if e == nil {
				return all, nil
			}
			rec, err := messages.DecodeRecord(e.Value())
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
	for _, u := range users {
		a.tally.violated("users_left", u.Name, "lease %s, since %s", u.Lease, u.Created)
	}
	alive, err := a.alive(ctx)
	if err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	for _, rec := range alive {
		if !notClosing(rec) && len(users) == 0 {
			a.tally.lost("leases with nothing left in AWS, whose young user is looked for again")
			continue
		}
		a.tally.violated("leases_left", rec.Name().String(), "%s, due %s, %d tries to undo it: %s", rec.State, rec.Due, rec.UndoTries, rec.UndoError)
	}
	queued, err := a.queued(ctx)
	if err != nil {
		return fmt.Errorf("read the queues: %w", err)
	}
	for verb, n := range queued {
		a.tally.violated("queued", verb, "%d messages", n)
	}
	var calls soakCalls
	if err := a.w.control.ask(ctx, http.MethodGet, "/calls", nil, &calls); err != nil {
		return err
	}
	a.tally.add("AWS calls", int(calls.Calls))
	a.tally.add("AWS calls refused", int(calls.Refused))
	for action, n := range calls.RefusedOf {
		a.tally.add("AWS calls refused: "+action, n)
	}
	a.tally.add("AWS calls that failed", int(calls.Failed))
	a.tally.add("AWS calls without an answer", int(calls.Dropped))
	if err := a.w.control.ask(ctx, http.MethodGet, "/secrets", nil, &a.secrets); err != nil {
		return err
	}
	return a.readEvents(ctx, alive)
}

// readEvents keeps the events, and makes sure that each issued lease's end is told.
func (a *soakAudit) readEvents(ctx context.Context, alive []messages.Record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	open, keys := map[string]string{}, map[string]string{} // leases, and their keys, by attempt
	over, undelivered := map[string]bool{}, map[string]bool{}
	for e, err := range client.Events(ctx, a.w.js, messages.Namespace{}, client.EventFilter{}) {
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		a.events = append(append(a.events, data...), '\n')
		a.tally.add("events told", 1)
		kind := strings.TrimPrefix(e.Type, "lessor.lease.")
		attempt := strings.TrimSuffix(e.ID, "."+kind) // a lease may be begun anew
		switch kind {
		case "issued":
			if open[attempt] = e.Subject; over[attempt] {
				a.tally.lost("leases whose event issued came after the one of their end")
			}
			if id := e.Data.Lease.AccessKeyID; keys[attempt] != "" && keys[attempt] != id {
				a.tally.violated("two_keys", e.Subject, "events tell of the keys %s and %s", keys[attempt], id)
			} else {
				keys[attempt] = id
			}
		case "undelivered":
			undelivered[e.Subject] = true
		case "revoked", "failed":
			over[attempt] = true
		}
	}
	a.tally.judgeKeys(undelivered)
	closing := map[string]bool{} // they have been counted
	for _, rec := range alive {
		closing[rec.Name().String()] = true
	}
	for attempt, lease := range open {
		if !over[attempt] && !closing[lease] {
			a.tally.violated("untold", lease, "its event issued (%s) has no end", attempt)
		}
	}
	return os.WriteFile(filepath.Join(a.w.dir, "events.jsonl"), a.events, 0o600)
}

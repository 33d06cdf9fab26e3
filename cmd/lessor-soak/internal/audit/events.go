package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/record"
)

// readEvents keeps the events, and judges the story that they tell.
func (a *Audit) readEvents(ctx context.Context, alive []record.Record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var all []messages.Event
	for e, err := range client.Events(ctx, a.w.JS, messages.Namespace{}, client.EventFilter{}) {
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
	return os.WriteFile(filepath.Join(a.w.Dir, "events.jsonl"), a.events, 0o600)
}

// judgeEvents makes sure that of each key beginning and end are told, once and in
// this order. Those of leases that are alive need no end.
func (a *Audit) judgeEvents(events []messages.Event, alive []record.Record) {
	begun, over := map[string]string{}, map[string]bool{} // by attempt, for a lease may be begun anew
	undelivered, given := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		a.tally.Add("events told", 1)
		kind := messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease."))
		attempt := strings.TrimSuffix(e.ID, "."+string(kind))
		key := ""
		if e.Data.Lease != nil {
			key = e.Data.Lease.AccessKeyID
		}
		if isAnswered(kind, e) {
			given[e.Data.Lease.Labels[world.RequestLabel]] = true
		}
		switch kind {
		case messages.EventIssued:
			if over[attempt] {
				a.tally.Violated(verdict.Order, e.Subject, "its event issued (%s) came after the one of its end", attempt)
			}
			if other, ok := begun[attempt]; ok && other != key {
				a.tally.Violated(verdict.TwoKeys, e.Subject, "events tell of the keys %s and %s", other, key)
			}
			begun[attempt] = key
		case messages.EventUndelivered:
			undelivered[e.Subject] = true
		case messages.EventRevoked, messages.EventFailed:
			if _, ok := begun[attempt]; !ok && !over[attempt] && kind == messages.EventRevoked && key != "" {
				a.tally.Violated(verdict.Untold, e.Subject, "the key %s was revoked (%s), and no event has told of it before", key, attempt)
			}
			over[attempt] = true
		case messages.EventOrphanRemoved:
			if a.tally.WasGivenUp(e.Subject) || strings.HasPrefix(e.Subject, account.LostPrefix) {
				a.tally.Add("users without a lease that the sweep removed", 1)
			} else {
				a.tally.Lost("users that only the sweep found")
			}
		}
	}
	a.tally.JudgeKeys(undelivered)
	a.tally.JudgeOwed(given)
	closing := map[string]bool{} // they have been counted
	for _, rec := range alive {
		closing[rec.Name().String()] = true
	}
	for attempt := range begun {
		lease := attempt[:strings.LastIndex(attempt, ".")]
		if !over[attempt] && !closing[lease] {
			a.tally.Violated(verdict.Untold, lease, "its event issued (%s) has no end", attempt)
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

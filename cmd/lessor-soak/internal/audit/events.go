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

// checkEvents reads and checks the events, and writes them to a file. Live are the leases
// that have not ended.
func (a *Audit) checkEvents(ctx context.Context, live []record.Record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var all []messages.Event
	var lines []byte
	for e, err := range client.Events(ctx, a.w.JS, messages.Namespace{}, client.EventFilter{}) {
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = append(append(lines, data...), '\n')
		all = append(all, e)
	}
	a.judgeEvents(all, live)
	return os.WriteFile(filepath.Join(a.w.Dir, "events.jsonl"), lines, 0o600)
}

// attempts is what the events say about the attempts of leases. A lease can have several,
// because a repeated request can start it again.
type attempts struct {
	issued map[string]string // the access key's ID, by attempt
	ended  map[string]bool
}

// judgeEvents checks that each key has one issued event and then an event of its end.
// Leases that are live need no end.
func (a *Audit) judgeEvents(events []messages.Event, live []record.Record) {
	t := attempts{issued: map[string]string{}, ended: map[string]bool{}}
	undelivered, answered := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		a.tally.Add("events read", 1)
		kind := messages.EventType(strings.TrimPrefix(e.Type, "lessor.lease."))
		if wasAnswered(kind, e) {
			answered[e.Data.Lease.Labels[world.RequestLabel]] = true
		}
		switch kind {
		case messages.EventUndelivered:
			undelivered[e.Subject] = true
		case messages.EventOrphanRemoved:
			if a.tally.GivenUp(e.Subject) || strings.HasPrefix(e.Subject, account.OrphanLease) {
				a.tally.Add("orphans that the sweep removed", 1)
			} else {
				a.tally.Excuse("orphans that the test did not create")
			}
		default:
			a.judgeEvent(t, kind, e)
		}
	}
	a.tally.CheckKeys(undelivered)
	a.tally.CheckRequests(answered)
	a.checkEnds(t, live)
}

// judgeEvent checks an event of the begin or the end of an attempt.
func (a *Audit) judgeEvent(t attempts, kind messages.EventType, e messages.Event) {
	attempt := strings.TrimSuffix(e.ID, "."+string(kind))
	key := ""
	if e.Data.Lease != nil {
		key = e.Data.Lease.AccessKeyID
	}
	switch kind {
	case messages.EventIssued:
		if t.ended[attempt] {
			a.tally.Violated(verdict.EventOrder, e.Subject, "the issued event of %s came after that of its end", attempt)
		}
		if other, ok := t.issued[attempt]; ok && other != key {
			a.tally.Violated(verdict.TwoKeys, e.Subject, "two issued events have the keys %s and %s", other, key)
		}
		t.issued[attempt] = key
	case messages.EventRevoked, messages.EventFailed:
		if _, ok := t.issued[attempt]; !ok && !t.ended[attempt] && kind == messages.EventRevoked && key != "" {
			a.tally.Violated(verdict.IncompleteEvents, e.Subject, "the key %s of %s was revoked and has no issued event", key, attempt)
		}
		t.ended[attempt] = true
	}
}

// checkEnds checks that each issued attempt has ended, unless its lease is live.
func (a *Audit) checkEnds(t attempts, live []record.Record) {
	isLive := map[string]bool{}
	for _, rec := range live {
		isLive[rec.Name().String()] = true
	}
	for attempt := range t.issued {
		lease := attempt[:strings.LastIndex(attempt, ".")]
		if !t.ended[attempt] && !isLive[lease] {
			a.tally.Violated(verdict.IncompleteEvents, lease, "%s has an issued event and no event of its end", attempt)
		}
	}
}

// wasAnswered reports whether an event shows that the broker has sent an answer to the
// requester of a lease, or was about to.
func wasAnswered(kind messages.EventType, e messages.Event) bool {
	switch {
	case e.Data.Lease == nil:
		return false
	case kind == messages.EventFailed:
		return e.Data.Error != nil && e.Data.Error.Code != messages.CodeAbandoned
	}
	return kind == messages.EventIssued
}

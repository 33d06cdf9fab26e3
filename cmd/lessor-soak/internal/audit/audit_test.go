package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// shamLease is a lease that ends after a time.
func shamLease(left time.Duration) messages.Lease {
	end := time.Now().Add(left).UTC().Truncate(time.Second)
	return messages.Lease{
		Name: "soaker0.hard.01", Identity: "soaker0", Secret: world.Hard, ID: "01", State: messages.StateActive,
		Username: "lessor-soaker0", AccessKeyID: "AKIA1", ExpiresAt: end, MaxExpiresAt: end.Add(time.Hour),
	}
}

// shamRecord is what a record would say of shamLease.
func shamRecord(state messages.State, ended time.Duration) record.Record {
	l := shamLease(-ended)
	return record.Record{
		State: state, Identity: l.Identity, Secret: l.Secret, ID: l.ID, Attempt: 1, User: record.User{Name: l.Username},
		IssuedAt: l.ExpiresAt.Add(-time.Minute), ExpiresAt: l.ExpiresAt, AccessKeyID: l.AccessKeyID,
	}
}

func shamUser() account.User {
	l := shamLease(0)
	return account.User{Name: l.Username, Lease: l.Name, Key: l.AccessKeyID, Allowed: true}
}

func shamEvent(t messages.EventType, key string) messages.Event {
	l := shamLease(0)
	l.AccessKeyID = key
	return messages.NewEvent("x", messages.LeaseName{Identity: l.Identity, Secret: l.Secret, ID: l.ID}, t, "1", time.Now(), messages.EventData{Lease: &l})
}

func newTestAudit(t *testing.T) *Audit {
	return New(&world.World{Dir: t.TempDir()}, verdict.NewTally())
}

// TestAuditReportsEachViolation shows the audit one violation of each kind that it looks
// for.
func TestAuditReportsEachViolation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind verdict.Kind
		name string
		do   func(t *testing.T, a *Audit)
	}{
		{verdict.UsersLeft, "", func(t *testing.T, a *Audit) { a.judgeLast([]account.User{shamUser()}, nil, nil, 1) }},
		{verdict.LeasesLeft, "", func(t *testing.T, a *Audit) {
			a.judgeLast(nil, []record.Record{shamRecord(messages.StateActive, 0)}, nil, 1)
		}},
		{verdict.Queued, "", func(t *testing.T, a *Audit) {
			a.judgeLast(nil, nil, map[messages.Verb]uint64{"revoke": 2}, 1)
		}},
		{verdict.Rotation, "", func(t *testing.T, a *Audit) { a.judgeLast(nil, nil, nil, 2) }},
		{verdict.Late, "", func(t *testing.T, a *Audit) {
			rec := shamRecord(messages.StateRevoking, time.Second)
			none := func() bool { return false }
			a.judge(shamUser(), rec, time.Now(), none)
			a.served.Add(int64(verdict.LateBound + time.Second))
			a.judge(shamUser(), rec, time.Now(), none)
		}},
		{verdict.Late, "without a key", func(t *testing.T, a *Audit) {
			rec, user := shamRecord(messages.StateRevoking, time.Second), shamUser()
			user.Key = ""
			none := func() bool { return false }
			a.judge(user, rec, time.Now(), none)
			a.served.Add(int64(verdict.LateBound + time.Second))
			a.judge(user, rec, time.Now(), none)
			if n := a.tally.Verdict(1, time.Minute).Count("late"); n > 0 {
				t.Error("a user without a key is late after a minute")
			}
			a.served.Add(int64(verdict.CleanupBound))
			a.judge(user, rec, time.Now(), none)
		}},
		{verdict.Beyond, "", func(t *testing.T, a *Audit) {
			for range 3 {
				a.judge(shamUser(), shamRecord(messages.StateActive, 5*time.Second), time.Now(), func() bool { return false })
			}
		}},
		{verdict.TwoUsers, "", func(t *testing.T, a *Audit) {
			other := shamUser()
			other.Name = "lessor-another"
			for range 3 {
				a.judgeAll([]account.User{shamUser(), other})
			}
		}},
		{verdict.TwoKeys, "", func(t *testing.T, a *Audit) {
			a.tally.Told("k", "AKIA1", "soaker0.hard.01")
			a.tally.Told("k", "AKIA2", "soaker0.hard.01")
			a.judgeEvents(nil, nil)
		}},
		{verdict.Order, "", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{
				shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"), shamEvent(messages.EventIssued, "AKIA1"),
			}, nil)
		}},
		{verdict.Untold, "", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{shamEvent(messages.EventIssued, "AKIA1")}, nil)
		}},
		{verdict.Secrets, "", func(t *testing.T, a *Audit) {
			a.secrets = []string{"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
			if err := os.WriteFile(filepath.Join(a.w.Dir, "broker1.log"), []byte("key="+a.secrets[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := a.Search(); err != nil {
				t.Fatal(err)
			}
		}},
		{verdict.Unanswered, "though stored", func(t *testing.T, a *Audit) {
			a.tally.Owed("soaker0-1")
			a.judgeEvents([]messages.Event{shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		{verdict.Untold, "the beginning", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{shamEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		{verdict.TwoKeys, "in the events", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{
				shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventIssued, "AKIA2"), shamEvent(messages.EventRevoked, "AKIA2"),
			}, nil)
		}},
	} {
		t.Run(string(tt.kind)+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			a := newTestAudit(t)
			tt.do(t, a)
			v := a.tally.Verdict(1, time.Minute)
			if v.OK || v.Count(string(tt.kind)) != 1 || len(v.Violations) != 1 || v.Violations[0].Kind != tt.kind {
				t.Errorf("the verdict is %v:\n%s", v.OK, v.Table())
			}
		})
	}
}

// TestAuditExcusesWhatOnlyLooksWrong shows the audit what looks like a violation and is
// none.
func TestAuditExcusesWhatOnlyLooksWrong(t *testing.T) {
	t.Parallel()
	a := newTestAudit(t)
	renews := func() bool { return true }
	for range 4 {
		a.judge(shamUser(), shamRecord(messages.StateActive, 5*time.Second), time.Now(), renews) // its end will move
		a.judgeAll([]account.User{shamUser()})
	}
	a.judgeLast(nil, []record.Record{shamRecord(messages.StateRevoking, 0)}, nil, 1)
	a.judgeEvents([]messages.Event{
		shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"),
	}, nil)
	if v := a.tally.Verdict(1, time.Minute); !v.OK {
		t.Errorf("the verdict is bad:\n%s", v.Table())
	}
}

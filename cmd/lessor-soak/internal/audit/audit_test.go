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

// testLease returns a lease that expires after a time.
func testLease(left time.Duration) messages.Lease {
	end := time.Now().Add(left).UTC().Truncate(time.Second)
	return messages.Lease{
		Name: "soaker0.hard.01", Identity: "soaker0", Secret: world.Hard, ID: "01", State: messages.StateActive,
		Username: "lessor-soaker0", AccessKeyID: "AKIA1", ExpiresAt: end, MaxExpiresAt: end.Add(time.Hour),
	}
}

// testRecord returns the record of a lease like testLease, which expired some time ago.
func testRecord(state messages.State, ended time.Duration) record.Record {
	l := testLease(-ended)
	return record.Record{
		State: state, Identity: l.Identity, Secret: l.Secret, ID: l.ID, Attempt: 1, User: record.User{Name: l.Username},
		IssuedAt: l.ExpiresAt.Add(-time.Minute), ExpiresAt: l.ExpiresAt, AccessKeyID: l.AccessKeyID,
	}
}

func testUser() account.User {
	l := testLease(0)
	return account.User{Name: l.Username, Lease: l.Name, Key: l.AccessKeyID, Allowed: true}
}

func testEvent(t messages.EventType, key string) messages.Event {
	l := testLease(0)
	l.AccessKeyID = key
	return messages.NewEvent("x", messages.LeaseName{Identity: l.Identity, Secret: l.Secret, ID: l.ID}, t, "1", time.Now(), messages.EventData{Lease: &l})
}

func newTestAudit(t *testing.T) *Audit {
	return New(&world.World{Dir: t.TempDir()}, verdict.NewTally())
}

// TestAuditFindsEachViolation gives the audit one violation of each kind that it checks.
func TestAuditFindsEachViolation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind verdict.Kind
		name string
		do   func(t *testing.T, a *Audit)
	}{
		{verdict.UsersLeft, "", func(t *testing.T, a *Audit) { a.judgeRest([]account.User{testUser()}, nil, nil, 1) }},
		{verdict.LeasesLeft, "", func(t *testing.T, a *Audit) {
			a.judgeRest(nil, []record.Record{testRecord(messages.StateActive, 0)}, nil, 1)
		}},
		{verdict.Queued, "", func(t *testing.T, a *Audit) {
			a.judgeRest(nil, nil, map[messages.Verb]uint64{"revoke": 2}, 1)
		}},
		{verdict.Rotation, "", func(t *testing.T, a *Audit) { a.judgeRest(nil, nil, nil, 2) }},
		{verdict.LateEnd, "", func(t *testing.T, a *Audit) {
			rec := testRecord(messages.StateRevoking, time.Second)
			notRenewing := func() bool { return false }
			a.checkUser(testUser(), rec, time.Now(), notRenewing)
			a.ready.Add(int64(verdict.LateBound + time.Second))
			a.checkUser(testUser(), rec, time.Now(), notRenewing)
		}},
		{verdict.LateEnd, "without a key", func(t *testing.T, a *Audit) {
			rec, user := testRecord(messages.StateRevoking, time.Second), testUser()
			user.Key = ""
			notRenewing := func() bool { return false }
			a.checkUser(user, rec, time.Now(), notRenewing)
			a.ready.Add(int64(verdict.LateBound + time.Second))
			a.checkUser(user, rec, time.Now(), notRenewing)
			if n := a.tally.Verdict(1, time.Minute).Count("late"); n > 0 {
				t.Error("a user without a key is late after a minute")
			}
			a.ready.Add(int64(verdict.CleanupBound))
			a.checkUser(user, rec, time.Now(), notRenewing)
		}},
		{verdict.KeyAfterExpiry, "", func(t *testing.T, a *Audit) {
			for range 3 {
				a.checkUser(testUser(), testRecord(messages.StateActive, 5*time.Second), time.Now(), func() bool { return false })
			}
		}},
		{verdict.TwoUsers, "", func(t *testing.T, a *Audit) {
			other := testUser()
			other.Name = "lessor-another"
			for range 3 {
				a.checkUsers([]account.User{testUser(), other})
			}
		}},
		{verdict.TwoKeys, "", func(t *testing.T, a *Audit) {
			a.tally.KeyReceived("k", "AKIA1", "soaker0.hard.01")
			a.tally.KeyReceived("k", "AKIA2", "soaker0.hard.01")
			a.judgeEvents(nil, nil)
		}},
		{verdict.EventOrder, "", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{
				testEvent(messages.EventIssued, "AKIA1"), testEvent(messages.EventRevoked, "AKIA1"), testEvent(messages.EventIssued, "AKIA1"),
			}, nil)
		}},
		{verdict.IncompleteEvents, "", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{testEvent(messages.EventIssued, "AKIA1")}, nil)
		}},
		{verdict.SecretFound, "", func(t *testing.T, a *Audit) {
			a.secrets = []string{"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
			if err := os.WriteFile(filepath.Join(a.w.Dir, "broker1.log"), []byte("key="+a.secrets[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := a.SearchSecrets(); err != nil {
				t.Fatal(err)
			}
		}},
		{verdict.Unanswered, "although stored", func(t *testing.T, a *Audit) {
			a.tally.RequestStored("soaker0-1")
			a.judgeEvents([]messages.Event{testEvent(messages.EventIssued, "AKIA1"), testEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		{verdict.IncompleteEvents, "without an issued event", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{testEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		{verdict.TwoKeys, "in the events", func(t *testing.T, a *Audit) {
			a.judgeEvents([]messages.Event{
				testEvent(messages.EventIssued, "AKIA1"), testEvent(messages.EventIssued, "AKIA2"), testEvent(messages.EventRevoked, "AKIA2"),
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

// TestAuditExcusesWhatIsRight gives the audit what looks like a violation and is none.
func TestAuditExcusesWhatIsRight(t *testing.T) {
	t.Parallel()
	a := newTestAudit(t)
	renewing := func() bool { return true }
	for range 4 {
		a.checkUser(testUser(), testRecord(messages.StateActive, 5*time.Second), time.Now(), renewing) // its expiry will be extended
		a.checkUsers([]account.User{testUser()})
	}
	a.judgeRest(nil, []record.Record{testRecord(messages.StateRevoking, 0)}, nil, 1)
	a.judgeEvents([]messages.Event{
		testEvent(messages.EventIssued, "AKIA1"), testEvent(messages.EventRevoked, "AKIA1"), testEvent(messages.EventRevoked, "AKIA1"),
	}, nil)
	if v := a.tally.Verdict(1, time.Minute); !v.OK {
		t.Errorf("the verdict is bad:\n%s", v.Table())
	}
}

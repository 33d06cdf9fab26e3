package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// sessionSecret is a definition of sessions of the role "deploy".
const sessionSecret = `{"name":"ci","default_ttl":"1h","max_ttl":"2h","tags":{"team":"platform"},"aws":{
	"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/deploy","external_id":"lessor-ci"}}`

func (w *world) sessionRole() {
	w.Sim.AddRole("deploy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},
		"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"lessor-ci"}}}]}`)
	w.Sim.AddRolePolicy("deploy", "rights", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	w.Sim.SetMaxSessionDuration("deploy", 2*time.Hour)
}

func denying(definition string) string {
	return strings.Replace(definition, `"external_id"`, `"deny_on_revoke":true,"external_id"`, 1)
}

func TestASessionIsLeased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), sessionSecret)
	w.sessionRole()
	r := w.Lease("ci", `{"ttl":"30m","ready_within":"5s"}`)
	if r.Credentials.SessionToken.Reveal() == "" || !strings.HasPrefix(r.Credentials.Username, "lessor-alice-") || r.Ready == nil || !*r.Ready {
		t.Fatalf("%+v", r)
	}
	if !w.Works(r.Credentials) || w.Sim.UserCount() != 0 {
		t.Fatal("it does not work, or there is a user")
	}
	renew := w.Call(w.Conn, w.Namespace.API("renew", strings.Split(r.Lease.Name, ".")...), `{"ttl":"1h"}`)
	w.WantError(renew, messages.CodeNotRenewable)
	w.WantError(w.Request("ci", `{"ttl":"14m"}`), messages.CodeTTLBelowMin)
	w.WantError(w.Request("ci", `{"ttl":"3h"}`), messages.CodeTTLExceedsMax)
	w.Clock.Advance(31 * time.Minute)
	rec := w.WaitState(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonExpired || !rec.ValidUntil.IsZero() || w.Works(r.Credentials) {
		t.Fatalf("%+v", rec)
	}
	for _, c := range w.Sim.Calls() {
		if strings.Contains(c.Action, "RolePolicy") {
			t.Fatalf("%s was called", c.Action)
		}
	}
}

// Without a Deny a revocation can't end a session, and says so.
func TestARevokedSessionSaysHowLongItStillWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), sessionSecret)
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	a := w.Revoke(r)
	if a.Kind != messages.KindRevoked || !a.Lease.ValidUntil.Equal(r.Lease.ExpiresAt) {
		t.Fatalf("%+v %v", a.Lease, a.Error)
	}
	if !w.Works(r.Credentials) {
		t.Fatal("what it says is wrong")
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	events := w.Events(r.Lease.Name)
	if e := events[1]; !e.Data.Lease.ValidUntil.Equal(r.Lease.ExpiresAt) {
		t.Fatalf("%+v", e.Data.Lease)
	}
}

// With a Deny the session can do nothing from the revocation on, another of the
// role goes on, and the Deny goes when the session has expired.
func TestARevokedSessionIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	r, other := w.Lease("ci", "{}"), w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	a, _ := w.Answer(w.Publish(w.Namespace.Revoke(w.NameOf(r)), `{"reason":"leaked"}`))
	if a.Kind != messages.KindRevoked || a.Lease.State != messages.StateRevoked || !a.Lease.ValidUntil.IsZero() || a.Lease.EndedAt.IsZero() {
		t.Fatalf("%+v %v", a.Lease, a.Error)
	}
	if w.Works(r.Credentials) || !w.Works(other.Credentials) {
		t.Fatal("the wrong session is cut off")
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	again := w.Revoke(r)
	w.WantKind(again, messages.KindRevoked)
	w.Clock.Advance(59 * time.Minute)
	w.WaitQueuesEmpty()
	if n := len(w.Sim.RolePolicies("deploy")); n != 2 {
		t.Fatalf("the role has %d policies while the session lives", n)
	}
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the Deny is gone", func() bool { return len(w.Sim.RolePolicies("deploy")) == 1 })
	rec := w.WaitState(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonRequested || w.Works(r.Credentials) {
		t.Fatalf("%+v", rec)
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// AWS refuses the Deny: it is tried again until the session has expired by itself.
func TestADenyThatIsRefusedIsTriedUntilTheSessionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.Deny("PutRolePolicy")
	a := w.Revoke(r)
	if a.Kind != messages.KindError || !strings.Contains(a.Error.Message, "PutRolePolicy with AccessDenied") {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed)
	w.Clock.Advance(2 * time.Hour)
	w.WaitState(r.Lease.Name, messages.StateRevoked)
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
}

func TestARoleThatMayNotBeAssumedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), strings.Replace(sessionSecret, "lessor-ci", "wrong-id", 1))
	w.sessionRole()
	w.WantError(w.Request("ci", "{}"), messages.CodeProviderDenied)
	w.WaitEvents(w.Records()[0].Name().String(), messages.EventFailed)
}

// The event of a session that was cut off could not be told; it is told later.
func TestACutIsToldOnceItCanBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(r)), "")
	w.Eventually("it is cut off and nobody could be told", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.SessionDenied() && w.Logs.Contain("the message can't be handled now")
	})
	w.Broker() // makes the stream again
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventRevoked)
}

// AWS takes its time to cut a session off, and meanwhile the session expires: the
// Deny goes all the same.
func TestADenyThatIsPutAtTheLastMomentIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutRolePolicy" {
			return iamsim.Verdict{After: func() { w.Clock.Advance(62 * time.Minute) }}
		}
		return iamsim.Verdict{}
	})
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(r)), "")
	w.WaitState(r.Lease.Name, messages.StateRevoked)
	if p := w.Sim.RolePolicies("deploy"); len(p) != 1 {
		t.Fatalf("the role is left with %v", p)
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// A session that nobody confirmed is cut off, and its record is needed until it has
// expired: a repeat of the request is told so, and does not wait for that.
func TestARepeatAfterACutIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	key := []string{messages.HeaderIdempotencyKey, "once"}
	r := w.Request("ci", `{"confirm":true}`, key...)
	w.Clock.Advance(11 * time.Second)
	w.Eventually("it is cut off", func() bool { rec, _ := w.Record(r.Lease.Name); return rec.SessionDenied() })
	answer, err := messages.DecodeReply(w.within(5*time.Second, w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, key...)))
	w.NoError(err)
	w.WantKind(answer, messages.KindError)
}

// To its holder a session that was cut off is revoked, so it takes nobody's room.
func TestACutSessionIsNoLeaseThatIsAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), strings.Replace(denying(sessionSecret), `"name"`, `"max_leases_per_identity":1,"name"`, 1))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.revoked(r)
	for end := time.Now().Add(2 * time.Second); w.Request("ci", "{}").Kind != messages.KindCredentials; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no room for another")
		}
	}
}

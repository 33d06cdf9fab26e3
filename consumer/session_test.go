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
	w.sim.AddRole("deploy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},
		"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"lessor-ci"}}}]}`)
	w.sim.AddRolePolicy("deploy", "rights", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	w.sim.SetMaxSessionDuration("deploy", 2*time.Hour)
}

func denying(definition string) string {
	return strings.Replace(definition, `"external_id"`, `"deny_on_revoke":true,"external_id"`, 1)
}

func TestASessionIsLeased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), sessionSecret)
	w.sessionRole()
	r := w.lease("ci", `{"ttl":"30m","ready_within":"5s"}`)
	if r.Credentials.SessionToken.Reveal() == "" || !strings.HasPrefix(r.Credentials.Username, "lessor-alice-") || r.Ready == nil || !*r.Ready {
		t.Fatalf("%+v", r)
	}
	if !w.works(r.Credentials) || w.sim.UserCount() != 0 {
		t.Fatal("it does not work, or there is a user")
	}
	renew := w.call(w.nc, w.ns.API("renew", strings.Split(r.Lease.Name, ".")...), `{"ttl":"1h"}`)
	w.refused(renew, messages.CodeNotRenewable)
	w.refused(w.ask("ci", `{"ttl":"14m"}`), messages.CodeTTLBelowMin)
	w.refused(w.ask("ci", `{"ttl":"3h"}`), messages.CodeTTLExceedsMax)
	w.clock.move(31 * time.Minute)
	rec := w.state(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonExpired || !rec.ValidUntil.IsZero() || w.works(r.Credentials) {
		t.Fatalf("%+v", rec)
	}
	for _, c := range w.sim.Calls() {
		if strings.Contains(c.Action, "RolePolicy") {
			t.Fatalf("%s was called", c.Action)
		}
	}
}

// Without a Deny a revocation can't end a session, and says so.
func TestARevokedSessionSaysHowLongItStillWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), sessionSecret)
	w.sessionRole()
	r := w.lease("ci", "{}")
	w.quiet()
	a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), ""))
	if a.Kind != messages.KindRevoked || !a.Lease.ValidUntil.Equal(r.Lease.ExpiresAt) {
		t.Fatalf("%+v %v", a.Lease, a.Error)
	}
	if !w.works(r.Credentials) {
		t.Fatal("what it says is wrong")
	}
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	events := w.events(r.Lease.Name)
	if e := events[1]; !e.Data.Lease.ValidUntil.Equal(r.Lease.ExpiresAt) {
		t.Fatalf("%+v", e.Data.Lease)
	}
}

// With a Deny the session can do nothing from the revocation on, another of the
// role goes on, and the Deny goes when the session has expired.
func TestARevokedSessionIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), denying(sessionSecret))
	w.sessionRole()
	r, other := w.lease("ci", "{}"), w.lease("ci", "{}")
	w.quiet()
	a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), `{"reason":"leaked"}`))
	if a.Kind != messages.KindRevoked || a.Lease.State != messages.StateRevoked || !a.Lease.ValidUntil.IsZero() || a.Lease.EndedAt.IsZero() {
		t.Fatalf("%+v %v", a.Lease, a.Error)
	}
	if w.works(r.Credentials) || !w.works(other.Credentials) {
		t.Fatal("the wrong session is cut off")
	}
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	again, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), ""))
	if again.Kind != messages.KindRevoked {
		t.Fatalf("%+v %v", again, again.Error)
	}
	w.clock.move(59 * time.Minute)
	w.quiet()
	if n := len(w.sim.RolePolicies("deploy")); n != 2 {
		t.Fatalf("the role has %d policies while the session lives", n)
	}
	w.clock.move(3 * time.Minute)
	w.eventually("the Deny is gone", func() bool { return len(w.sim.RolePolicies("deploy")) == 1 })
	rec := w.state(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonRequested || w.works(r.Credentials) {
		t.Fatalf("%+v", rec)
	}
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// AWS refuses the Deny: it is tried again until the session has expired by itself.
func TestADenyThatIsRefusedIsTriedUntilTheSessionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.lease("ci", "{}")
	w.quiet()
	w.denies("PutRolePolicy")
	a, _ := w.answer(w.publish(w.ns.Revoke(nameOf(w, r)), ""))
	if a.Kind != messages.KindError || !strings.Contains(a.Error.Message, "PutRolePolicy with AccessDenied") {
		t.Fatalf("%+v %v", a, a.Error)
	}
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed)
	w.clock.move(2 * time.Hour)
	w.state(r.Lease.Name, messages.StateRevoked)
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevokeFailed, messages.EventRevoked)
}

func TestARoleThatMayNotBeAssumedIsToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), strings.Replace(sessionSecret, "lessor-ci", "wrong-id", 1))
	w.sessionRole()
	w.refused(w.ask("ci", "{}"), messages.CodeProviderDenied)
	w.told(w.records()[0].Name().String(), messages.EventFailed)
}

// The event of a session that was cut off could not be told; it is told later.
func TestACutIsToldOnceItCanBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.lease("ci", "{}")
	w.quiet()
	w.ok(w.js.DeleteStream(w.ctx(), w.ns.EventStream()))
	w.publishFor("", w.ns.Revoke(nameOf(w, r)), "")
	w.eventually("it is cut off and nobody could be told", func() bool {
		rec, _ := w.record(r.Lease.Name)
		return rec.SessionDenied() && strings.Contains(w.logs.String(), "the message can't be handled now")
	})
	w.broker() // makes the stream again
	w.quiet()
	w.told(r.Lease.Name, messages.EventRevoked)
}

// AWS takes its time to cut a session off, and meanwhile the session expires: the
// Deny goes all the same.
func TestADenyThatIsPutAtTheLastMomentIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.lease("ci", "{}")
	w.sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "PutRolePolicy" {
			return iamsim.Verdict{After: func() { w.clock.move(62 * time.Minute) }}
		}
		return iamsim.Verdict{}
	})
	w.publishFor("", w.ns.Revoke(nameOf(w, r)), "")
	w.state(r.Lease.Name, messages.StateRevoked)
	if p := w.sim.RolePolicies("deploy"); len(p) != 1 {
		t.Fatalf("the role is left with %v", p)
	}
	w.told(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// A session that nobody confirmed is cut off, and its record is needed until it has
// expired: a repeat of the request is told so, and does not wait for that.
func TestARepeatAfterACutIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), denying(sessionSecret))
	w.sessionRole()
	key := []string{messages.HeaderIdempotencyKey, "once"}
	r := w.ask("ci", `{"confirm":true}`, key...)
	w.clock.move(11 * time.Second)
	w.eventually("it is cut off", func() bool { rec, _ := w.record(r.Lease.Name); return rec.SessionDenied() })
	answer, err := messages.DecodeReply(w.within(5*time.Second, w.publish(w.ns.Request("alice", "ci"), `{"confirm":true}`, key...)))
	w.ok(err)
	if answer.Kind != messages.KindError {
		t.Fatalf("%+v", answer)
	}
}

// To its holder a session that was cut off is revoked, so it takes nobody's room.
func TestACutSessionIsNoLeaseThatIsAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.broker(), strings.Replace(denying(sessionSecret), `"name"`, `"max_leases_per_identity":1,"name"`, 1))
	w.sessionRole()
	r := w.lease("ci", "{}")
	w.revoked(r)
	for end := time.Now().Add(2 * time.Second); w.ask("ci", "{}").Kind != messages.KindCredentials; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no room for another")
		}
	}
}

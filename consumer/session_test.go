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

// sessionRole makes the role of [sessionSecret].
func (w *world) sessionRole() {
	w.Sim.AddRole("deploy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},
		"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"lessor-ci"}}}]}`)
	w.Sim.AddRolePolicy("deploy", "rights", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	w.Sim.SetMaxSessionDuration("deploy", 2*time.Hour)
}

// denying makes a definition deny sessions that are revoked.
func denying(definition string) string {
	return strings.Replace(definition, `"external_id"`, `"deny_on_revoke":true,"external_id"`, 1)
}

func TestRoleSessionIsIssuedAndExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), sessionSecret)
	w.sessionRole()
	r := w.Lease("ci", `{"ttl":"30m","ready_within":"5s"}`)
	if r.Credentials.SessionToken.Reveal() == "" || !strings.HasPrefix(r.Credentials.Username, "lessor-alice-") || r.Ready == nil || !*r.Ready {
		t.Fatalf("%+v", r)
	}
	if !w.Works(r.Credentials) || w.Sim.UserCount() != 0 {
		t.Fatal("the session does not work, or a user was made")
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

func TestRevokedSessionWithoutDenyStatesItsEnd(t *testing.T) {
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
		t.Fatal("the session does not work until the stated time")
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	events := w.Events(r.Lease.Name)
	if e := events[1]; !e.Data.Lease.ValidUntil.Equal(r.Lease.ExpiresAt) {
		t.Fatalf("%+v", e.Data.Lease)
	}
}

// TestRevokedSessionIsDenied: the session can do nothing after the revocation, another
// session of the role works, and the Deny is removed when the session has expired.
func TestRevokedSessionIsDenied(t *testing.T) {
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
		t.Fatal("the wrong session is denied")
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
	again := w.Revoke(r)
	w.WantKind(again, messages.KindRevoked)
	w.Clock.Advance(59 * time.Minute)
	w.WaitQueuesEmpty()
	if n := len(w.Sim.RolePolicies("deploy")); n != 2 {
		t.Fatalf("the role has %d policies before the session has expired", n)
	}
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the Deny is removed", func() bool { return len(w.Sim.RolePolicies("deploy")) == 1 })
	rec := w.WaitState(r.Lease.Name, messages.StateRevoked)
	if rec.Reason != messages.ReasonRequested || w.Works(r.Credentials) {
		t.Fatalf("%+v", rec)
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

func TestRefusedDenyIsRetriedUntilTheSessionEnds(t *testing.T) {
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

func TestRefusedAssumeRoleFailsTheRequestAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), strings.Replace(sessionSecret, "lessor-ci", "wrong-id", 1))
	w.sessionRole()
	w.WantError(w.Request("ci", "{}"), messages.CodeProviderDenied)
	w.WaitEvents(w.Records()[0].Name().String(), messages.EventFailed)
}

func TestDenialIsEmittedWhenTheEventStreamIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.NoError(w.JS.DeleteStream(w.Context(), w.Namespace.EventStream()))
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(r)), "")
	w.Eventually("the session is denied and the event could not be emitted", func() bool {
		rec, _ := w.Record(r.Lease.Name)
		return rec.SessionDenied() && w.Logs.Contain("the message can't be handled now")
	})
	w.Broker() // makes the stream again
	w.WaitQueuesEmpty()
	w.WaitEvents(r.Lease.Name, messages.EventRevoked)
}

// TestDenyPutAtTheEndOfTheSessionIsRemoved: the session expires while AWS carries out
// PutRolePolicy.
func TestDenyPutAtTheEndOfTheSessionIsRemoved(t *testing.T) {
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
		t.Fatalf("the role has the policies %v", p)
	}
	w.WaitEvents(r.Lease.Name, messages.EventIssued, messages.EventRevoked)
}

// TestRepeatAfterADenialIsAnswered: the record of a denied session stays until the
// session has expired, and a repeat does not wait for that.
func TestRepeatAfterADenialIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), denying(sessionSecret))
	w.sessionRole()
	key := []string{messages.HeaderIdempotencyKey, "once"}
	r := w.Request("ci", `{"confirm":true}`, key...)
	w.Clock.Advance(11 * time.Second)
	w.Eventually("the session is denied", func() bool { rec, _ := w.Record(r.Lease.Name); return rec.SessionDenied() })
	answer, _ := w.AnswerWithin(5*time.Second, w.Publish(w.Namespace.Request("alice", "ci"), `{"confirm":true}`, key...))
	w.WantKind(answer, messages.KindError)
}

func TestDeniedSessionDoesNotCountAgainstLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), strings.Replace(denying(sessionSecret), `"name"`, `"max_leases_per_identity":1,"name"`, 1))
	w.sessionRole()
	r := w.Lease("ci", "{}")
	w.mustRevoke(r)
	for end := time.Now().Add(2 * time.Second); w.Request("ci", "{}").Kind != messages.KindCredentials; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the denied session counts against the limit")
		}
	}
}

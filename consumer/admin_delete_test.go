package consumer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

// waitSecretDeleted waits until a definition is deleted.
func (w *world) waitSecretDeleted(secret string) {
	w.T.Helper()
	w.Eventually("the definition of "+secret+" is deleted", func() bool {
		w.Clock.Advance(time.Second) // a user that may be too young to be seen gets older
		r := w.adminSecret(messages.AdminGet, `{"name":"`+secret+`"}`)
		return r.Error != nil && r.Error.Code == messages.CodeSecretNotFound
	})
}

func TestSecretDeletionEndsItsLeasesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(quickMaintenance)
	w.Put(b, lessortest.Secret)
	w.Put(b, `{"name":"other"}`)
	other := w.Lease("other", "{}")
	var leases []messages.Reply
	for range 5 {
		leases = append(leases, w.Lease("ci", "{}"))
	}
	r := w.adminSecret(messages.AdminDelete, `{"name":"ci"}`)
	if r.Kind != messages.KindDeletion || r.Deletion.Done || r.Deletion.Leases != 5 {
		t.Fatalf("%+v %v", r.Deletion, r.Error)
	}
	w.waitSecretDeleted("ci")
	for _, l := range leases {
		rec := w.WaitState(l.Lease.Name, messages.StateRevoked)
		if rec.Reason != messages.ReasonSecretDeleted {
			t.Fatalf("the lease ended because of %s", rec.Reason)
		}
		w.WaitEvents(l.Lease.Name, messages.EventIssued, messages.EventRevoked)
	}
	w.WantError(w.Request("ci", "{}"), messages.CodeSecretNotFound)
	if _, there := w.Sim.User(other.Credentials.Username); !there || w.Sim.UserCount() != 1 {
		t.Fatalf("%d users; the user of another secret exists: %t", w.Sim.UserCount(), there)
	}
	// A definition of that name can be put again.
	w.Put(b, lessortest.Secret)
	w.Lease("ci", "{}")
}

// TestSecretDeletionContinuesUntilAWSAllowsIt: while AWS refuses, the definition stays,
// reports the progress and issues no leases. Another broker continues the deletion.
func TestSecretDeletionContinuesUntilAWSAllowsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(quickMaintenance)
	w.Put(b, lessortest.Secret)
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.Deny("DeleteAccessKey")
	var d *messages.SecretDeletion
	w.Eventually("the deletion reports why it does not proceed", func() bool {
		d = w.adminSecret(messages.AdminDelete, `{"name":"ci"}`).Deletion
		return d.Failing == 1
	})
	if d.Done || d.Leases != 1 || !strings.Contains(d.Error, "DeleteAccessKey") || !strings.Contains(d.Error, "AccessDenied") {
		t.Fatalf("%+v", d)
	}
	if i := w.adminSecret(messages.AdminGet, `{"name":"ci"}`).Secret; i.State != messages.SecretDeleting || len(i.Definition.AWS.Groups) != 1 {
		t.Fatalf("%+v", i)
	}
	w.WantError(w.Request("ci", "{}"), messages.CodeSecretDeleting)
	if r := w.adminSecret(messages.AdminPut, putBody(lessortest.Secret, `,"no_check":true`)); r.Error == nil || r.Error.Code != messages.CodeSecretDeleting {
		t.Fatalf("%+v", r)
	}
	b.Close()
	w.Sim.SetHook(nil)
	w.Broker(quickMaintenance)
	w.Eventually("the definition is deleted", func() bool {
		w.Clock.Advance(time.Second)
		r := w.adminSecret(messages.AdminGet, `{"name":"ci"}`)
		return r.Error != nil && r.Error.Code == messages.CodeSecretNotFound
	})
	w.WaitRevoked(lease, messages.ReasonSecretDeleted)
}

func TestForcedDeletionRemovesTheSecretAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Put(w.Broker(), lessortest.Secret)
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	w.Deny("DeleteUser")
	r := w.adminSecret(messages.AdminDelete, `{"name":"ci","force":true}`)
	if r.Kind != messages.KindDeletion || !r.Deletion.Done || r.Deletion.Leases != 1 {
		t.Fatalf("%+v %v", r.Deletion, r.Error)
	}
	w.WantError(w.Request("ci", "{}"), messages.CodeSecretNotFound)
	w.Eventually("the teardown has failed", func() bool { rec, _ := w.Record(lease.Lease.Name); return rec.TeardownError != "" })
	w.Sim.SetHook(nil)
	w.WaitRevoked(lease, messages.ReasonSecretDeleted)
}

// TestRequestsRacingASecretDeletionLeaveNothing: each request gets a lease that the
// deletion ends, or an error.
func TestRequestsRacingASecretDeletionLeaveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(quickMaintenance)
	w.Broker(quickMaintenance)
	codes := map[messages.Code]int{}
	// At least six rounds, and as many as it takes until a request is faster than the deletion.
	for round := 0; round < 6 || codes["credentials"] == 0 && round < 40; round++ {
		w.Put(b, lessortest.Secret)
		var all sync.WaitGroup
		subs := make(chan messages.Reply, 12)
		for i := range 12 {
			sub := w.Publish(w.Namespace.Request("alice", "ci"), fmt.Sprintf(`{"ttl":"1h","labels":{"n":"%d.%d"}}`, round, i))
			all.Go(func() {
				msg, err := sub.NextMsg(lessortest.Patience)
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				r, _ := messages.DecodeReply(msg.Data)
				subs <- r
			})
			if i == min(2*round, 11) {
				w.adminSecret(messages.AdminDelete, `{"name":"ci"}`)
			}
		}
		all.Wait()
		close(subs)
		for r := range subs {
			if r.Kind == messages.KindCredentials {
				codes["credentials"]++
			} else {
				codes[r.Error.Code]++
			}
		}
		w.waitSecretDeleted("ci")
		w.WaitQueuesEmpty()
		w.Eventually("every lease has ended", func() bool {
			for _, rec := range w.Records() {
				if !rec.State.Ended() {
					return false
				}
			}
			return true
		})
		w.WaitNoUsers()
	}
	t.Logf("%v", codes)
	if codes["credentials"] == 0 || codes[messages.CodeSecretDeleting]+codes[messages.CodeSecretNotFound] == 0 {
		t.Fatal("no request raced the deletion")
	}
	for code := range codes {
		switch code {
		case "credentials", messages.CodeSecretDeleting, messages.CodeSecretNotFound, messages.CodeLeaseEnded:
		default:
			t.Errorf("%d answers have the code %s", codes[code], code)
		}
	}
}

// TestForcedDeletionRevokesDespiteAPendingMessage: a message that ends nothing is
// pending on the lease's subject when the definition is deleted by force. After that
// nothing looks for the lease again.
func TestForcedDeletionRevokesDespiteAPendingMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(func(c *consumer.Config) { c.Timing.Expiring = 30 * time.Minute })
	w.Put(b, lessortest.Secret)
	lease := w.Lease("ci", "{}")
	w.WaitQueuesEmpty()
	b.Scheduler.Stop()
	w.Clock.Advance(30*time.Minute - 4*time.Second) // the reminder is a little early, and is redelivered
	w.PublishReply("", w.Namespace.Revoke(w.NameOf(lease)), "", messages.HeaderDue, "soon")
	r := w.adminSecret(messages.AdminDelete, `{"name":"ci","force":true}`)
	if r.Kind != messages.KindDeletion || !r.Deletion.Done {
		t.Fatalf("%+v %v", r.Deletion, r.Error)
	}
	w.Eventually("the streams are empty", w.revocationsAreEmpty)
	if rec, _ := w.Record(lease.Lease.Name); !rec.State.Ended() {
		t.Fatalf("the definition is deleted, and the lease is %s", rec.State)
	}
}

// revocationsAreEmpty reports whether the stream of revocations is empty.
func (w *world) revocationsAreEmpty() bool {
	s, err := w.JS.Stream(w.Context(), w.Namespace.Stream(messages.VerbRevoke))
	w.NoError(err)
	return s.CachedInfo().State.Msgs == 0
}

func TestUnreadableSecretCanBeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.SecretBucket())
	w.NoError(err)
	_, err = kv.PutString(w.Context(), "ci", "null")
	w.NoError(err)
	if r := w.adminSecret(messages.AdminDelete, `{"name":"ci"}`); r.Kind != messages.KindDeletion || !r.Deletion.Done {
		t.Fatalf("%+v %v", r.Deletion, r.Error)
	}
}

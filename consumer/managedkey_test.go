package consumer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// west is a definition like keyed, for another region: another connection of the
// same user.
func west(name, keyID, secret string) string {
	return strings.Replace(keyed(name, keyID, secret), `"auth"`, `"region":"us-west-2","auth"`, 1)
}

// revoked revokes a lease, which must succeed.
func (w *world) revoked(lease messages.Reply) {
	w.T.Helper()
	w.WantKind(w.Revoke(lease), messages.KindRevoked)
}

// leased is lease for where it must succeed within a time: a broker that is locked
// out tries again for long.
func (w *world) leased(secret string) messages.Reply {
	w.T.Helper()
	msg, err := w.Publish(w.Namespace.Request("alice", secret), "{}").NextMsg(10 * time.Second)
	if err != nil {
		w.T.Fatalf("no lease of %s: %v, keys %v\n%s", secret, err, w.managerKeys(), w.Logs)
	}
	r, err := messages.DecodeReply(msg.Data)
	w.NoError(err)
	w.WantKind(r, messages.KindCredentials)
	return r
}

// A definition whose secret key is wrong is tried out and not stored: the key that
// is kept, and the leases that need it, go on.
func TestAPutThatIsRefusedLeavesTheKeyThatWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.leased("ci")
	r := w.admin(messages.AdminPut, putBody(keyed("ci", keyID, strings.Repeat("x", 40)), ""))
	w.WantKind(r, messages.KindError)
	w.revoked(lease)
	w.leased("ci")
	w.WantKind(w.admin(messages.AdminPut, putBody(keyed("ci", keyID, secret), "")), messages.KindSecret)
}

// The other definition has the key, too, and nobody has ever asked for it.
func TestARotationReachesConnectionsThatWereNeverUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.putNow(west("west", keyID, secret))
	w.leased("ci")
	w.WantKind(w.admin(messages.AdminRotateKey, `{"name":"ci"}`), messages.KindSecret)
	w.leased("west")
}

// A definition that still names the key that was rotated away is put for another
// region.
func TestADefinitionMayNameAKeyThatWasRotatedAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.leased("ci")
	w.WantKind(w.admin(messages.AdminRotateKey, `{"name":"ci"}`), messages.KindSecret)
	w.putNow(west("west", keyID, secret))
	w.leased("west")
	w.leased("ci")
}

// The old key is put for another region after the switch and before it is deleted,
// when AWS still takes it.
func TestAnOldKeyDoesNotComeBackWhileItIsRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	lease := w.leased("ci")
	held := lessortest.NewGate()
	w.Sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "DeleteAccessKey") {
			held.Pass(ctx)
		}
		return iamsim.Verdict{}
	})
	rotated := w.begin(messages.AdminRotateKey, `{"name":"ci"}`)
	held.WaitArrival(w.T, "the old key is deleted")
	w.putNow(west("west", keyID, secret))
	w.leased("west")
	held.Open()
	if r, _ := w.Answer(rotated); r.Kind != messages.KindSecret {
		t.Errorf("%v", r.Error)
	}
	w.leased("west")
	w.leased("ci")
	w.revoked(lease)
}

// A rotation got no answer, and before it goes on somebody changes the key by hand:
// that key is not taken for the one that got lost.
func TestAKeyThatWasMadeByHandIsNotTakenForALostOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker(quickChores)
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.leased("ci")
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "CreateAccessKey") {
			return iamsim.Verdict{Do: iamsim.DropBefore}
		}
		return iamsim.Verdict{}
	})
	if r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`); r.Error == nil {
		t.Fatalf("%+v", r)
	}
	w.Sim.SetHook(nil)
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.putNow(keyed("ci", nextID, nextSecret))
	w.Sim.ResetCalls()
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the rotation goes on", func() bool {
		w.Clock.Advance(time.Second) // a try that met another change waits for its turn
		return slices.ContainsFunc(w.Sim.Calls(), func(c iamsim.Call) bool { return isAboutItself(c, "CreateAccessKey") && !c.Answered.IsZero() })
	})
	if ids := w.managerKeys(); !slices.Contains(ids, nextID) {
		t.Fatalf("the key that was made by hand is gone; there are %v", ids)
	}
	w.leased("ci")
}

// Two connections of one user rotate at once: each would take the other's new key
// for a lost one.
func TestTwoConnectionsOfOneUserDoNotRotateAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.putNow(west("west", keyID, secret))
	w.leased("ci")
	w.leased("west")
	first, second, last := lessortest.NewGate(), lessortest.NewGate(), lessortest.NewGate()
	lists := make(chan int, 1)
	lists <- 0
	w.Sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		switch {
		case isAboutItself(c, "ListAccessKeys"):
			n := <-lists + 1
			lists <- n
			switch n {
			case 2: // the first's, before it makes a key
				first.Pass(ctx)
			case 4: // the second's
				second.Pass(ctx)
			}
		case isAboutItself(c, "DeleteAccessKey") && c.Params.Get("AccessKeyId") == keyID:
			last.Pass(ctx)
		}
		return iamsim.Verdict{}
	})
	one := w.begin(messages.AdminRotateKey, `{"name":"ci"}`)
	first.WaitArrival(w.T, "the first looks for lost keys")
	two := w.begin(messages.AdminRotateKey, `{"name":"west"}`)
	refused, err := two.NextMsg(time.Second)
	if err != nil {
		second.WaitArrival(w.T, "the second looks for lost keys")
	}
	first.Open()
	last.WaitArrival(w.T, "the first deletes the old key")
	second.Open()
	if refused == nil {
		w.Answer(two)
	}
	last.Open()
	if r, _ := w.Answer(one); r.Kind != messages.KindSecret {
		t.Errorf("%v", r.Error)
	}
	w.leased("ci")
	w.leased("west")
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] == keyID {
		t.Fatalf("keys %v", ids)
	}
}

// A rotation stalls for longer than it is its own, and goes on while another has
// made the key that is in use.
func TestARotationThatStalledDeletesNoKeyOfTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.leased("ci")
	stalled, last := lessortest.NewGate(), lessortest.NewGate()
	lists := make(chan int, 1)
	lists <- 0
	w.Sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		switch {
		case isAboutItself(c, "ListAccessKeys"):
			n := <-lists + 1
			lists <- n
			if n == 2 {
				stalled.Pass(ctx)
			}
		case isAboutItself(c, "DeleteAccessKey") && c.Params.Get("AccessKeyId") == keyID:
			last.Pass(ctx)
		}
		return iamsim.Verdict{}
	})
	one := w.begin(messages.AdminRotateKey, `{"name":"ci"}`)
	stalled.WaitArrival(w.T, "the first looks for lost keys")
	w.Clock.Advance(3 * time.Minute)
	two := w.begin(messages.AdminRotateKey, `{"name":"ci"}`)
	last.WaitArrival(w.T, "the second deletes the old key")
	stalled.Open()
	w.Answer(one)
	last.Open()
	if r, _ := w.Answer(two); r.Kind != messages.KindSecret {
		t.Errorf("%v", r.Error)
	}
	w.leased("ci")
}

// The new key of a rotation that was not finished has been deleted by hand.
func TestARotationWhoseNewKeyIsGoneMakesAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.leased("ci")
	w.Sim.SetHook(refuseNewKeys(keyID, w))
	w.begin(messages.AdminRotateKey, `{"name":"ci"}`)
	w.Eventually("there is a new key", func() bool { return len(w.managerKeys()) == 2 && strings.Contains(w.connection("ci"), `"next"`) })
	for _, id := range w.managerKeys() {
		if id != keyID {
			w.Sim.RevokeKey(id)
		}
	}
	w.Sim.SetHook(nil)
	w.Clock.Advance(3 * time.Minute)
	r, err := messages.DecodeReply(w.within(10*time.Second, w.begin(messages.AdminRotateKey, `{"name":"ci"}`)))
	w.NoError(err)
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] != r.Secret.Connection.AccessKeyID {
		t.Fatalf("%v, keys %v", r.Error, ids)
	}
	w.leased("ci")
}

// refuseNewKeys has AWS never accept another key of the managing user.
func refuseNewKeys(keyID string, w *world) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID && c.AccessKeyID != w.KeyID && c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "InvalidClientTokenId"}
		}
		return iamsim.Verdict{}
	}
}

// connection is what the state bucket has of a definition's connection.
func (w *world) connection(secret string) string {
	w.T.Helper()
	name := w.admin(messages.AdminGet, `{"name":"`+secret+`"}`).Secret.Connection.Name
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	e, err := kv.Get(w.Context(), "connection."+name)
	if err != nil {
		return ""
	}
	return string(e.Value())
}

// AWS does not accept the new key of one definition; another's deletion goes on.
func TestARotationThatIsStuckHoldsUpNoDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(quickChores)
	keyID, secret := w.manager()
	w.putNow(keyed("keyed", keyID, secret))
	w.Put(b, lessortest.Secret)
	w.leased("keyed")
	lease := w.leased("ci")
	w.Sim.SetHook(refuseNewKeys(keyID, w))
	w.begin(messages.AdminRotateKey, `{"name":"keyed"}`)
	w.Eventually("there is a new key", func() bool { return strings.Contains(w.connection("keyed"), `"next"`) })
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the rotation goes on", func() bool { return w.Logs.Contain("going on with it") })
	w.admin(messages.AdminDelete, `{"name":"ci"}`)
	w.WaitState(lease.Lease.Name, messages.StateRevoked)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r := w.admin(messages.AdminGet, `{"name":"ci"}`); r.Error != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the deletion does not go on")
		}
	}
}

// What can't be read, because a newer broker has written it or because it is
// damaged, may name a connection.
func TestAConnectionStaysWhileItIsNotKnownWhoNamesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, bucket, key, value string }{
		{"a lease", "lease", "alice.ci.0000000000000000000000000a", `{"v":2,"due":"2036-01-02T15:04:05Z","state":"active"}`},
		{"a definition", "secret", "ci", `{"v":1,"definition":{"name":"ci","tomorrow":true}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			w.Broker(func(c *consumer.Config) { c.MaintainEvery = time.Millisecond })
			keyID, secret := w.manager()
			w.putNow(keyed("ci", keyID, secret))
			name := w.admin(messages.AdminGet, `{"name":"ci"}`).Secret.Connection.Name
			if c.bucket == "lease" {
				w.admin(messages.AdminDelete, `{"name":"ci"}`)
			}
			kv, err := w.JS.KeyValue(w.Context(), "lessor_"+c.bucket)
			w.NoError(err)
			_, err = kv.PutString(w.Context(), c.key, c.value)
			w.NoError(err)
			state, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
			w.NoError(err)
			const unused = `"unused_since":"2020-01-02T15:04:05Z",`
			was, err := state.Get(w.Context(), "connection."+name)
			w.NoError(err)
			_, err = state.PutString(w.Context(), was.Key(), "{"+unused+strings.TrimPrefix(string(was.Value()), "{"))
			w.NoError(err)
			w.Clock.Advance(20 * time.Minute)
			w.Eventually("it is found to be used", func() bool {
				now, err := state.Get(w.Context(), was.Key())
				w.NoError(err) // it is there
				return !strings.Contains(string(now.Value()), "unused_since")
			})
		})
	}
}

// A connection that can't be read, because a newer broker has written it, does not
// keep the leases of another from following a key that is changed by hand.
func TestAConnectionThatCanNotBeReadHurtsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	old := w.leased("ci")
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	_, err = kv.PutString(w.Context(), "connection.aaa", `{"v":2}`)
	w.NoError(err)
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.putNow(keyed("ci", nextID, nextSecret))
	w.leased("ci")
	w.Sim.RevokeKey(keyID)
	w.revoked(old)
}

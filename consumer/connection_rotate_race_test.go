package consumer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// TestRetiredKeyDoesNotComeBack puts the old key for another region after the switch
// and before it is deleted, while AWS still accepts it.
func TestRetiredKeyDoesNotComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	lease := w.leaseSoon("ci")
	deletion := lessortest.NewGate()
	w.Sim.SetHook(func(ctx context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "DeleteAccessKey") {
			deletion.Pass(ctx)
		}
		return iamsim.Verdict{}
	})
	rotated := w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`)
	deletion.WaitArrival(w.T, "the old key is deleted")
	w.storeSecret(west("west", keyID, secret))
	w.leaseSoon("west")
	deletion.Open()
	if r, _ := w.Answer(rotated); r.Kind != messages.KindSecret {
		t.Errorf("%v", r.Error)
	}
	w.leaseSoon("west")
	w.leaseSoon("ci")
	w.mustRevoke(lease)
}

// TestKeyMadeByAnOperatorIsNotTakenForALostOne: AWS does not answer a rotation, and
// before the rotation continues an operator replaces the key.
func TestKeyMadeByAnOperatorIsNotTakenForALostOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker(quickMaintenance)
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.leaseSoon("ci")
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "CreateAccessKey") {
			return iamsim.Verdict{Do: iamsim.DropBefore}
		}
		return iamsim.Verdict{}
	})
	if r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`); r.Error == nil {
		t.Fatalf("%+v", r)
	}
	w.Sim.SetHook(nil)
	nextID, nextSecret := w.Sim.AddAccessKey("manager")
	w.storeSecret(keyed("ci", nextID, nextSecret))
	w.Sim.ResetCalls()
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the rotation continues", func() bool {
		w.Clock.Advance(time.Second) // an attempt that met another change is repeated later
		return slices.ContainsFunc(w.Sim.Calls(), func(c iamsim.Call) bool { return isAboutItself(c, "CreateAccessKey") && !c.Answered.IsZero() })
	})
	if ids := w.managerKeys(); !slices.Contains(ids, nextID) {
		t.Fatalf("the operator's key is deleted; the keys are %v", ids)
	}
	w.leaseSoon("ci")
}

// TestConnectionsOfOneUserDoNotRotateAtOnce: each would take the new key of the other
// for a lost one.
func TestConnectionsOfOneUserDoNotRotateAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.storeSecret(west("west", keyID, secret))
	w.leaseSoon("ci")
	w.leaseSoon("west")
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
	one := w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`)
	first.WaitArrival(w.T, "the first looks for lost keys")
	two := w.startAdmin(messages.AdminRotateKey, `{"name":"west"}`)
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
	w.leaseSoon("ci")
	w.leaseSoon("west")
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] == keyID {
		t.Fatalf("keys %v", ids)
	}
}

// TestStalledRotationDeletesNoKeyOfTheNext: a rotation stalls for longer than its claim
// lasts, and continues when another has made the key in use.
func TestStalledRotationDeletesNoKeyOfTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.leaseSoon("ci")
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
	one := w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`)
	stalled.WaitArrival(w.T, "the first looks for lost keys")
	w.Clock.Advance(3 * time.Minute)
	two := w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`)
	last.WaitArrival(w.T, "the second deletes the old key")
	stalled.Open()
	w.Answer(one)
	last.Open()
	if r, _ := w.Answer(two); r.Kind != messages.KindSecret {
		t.Errorf("%v", r.Error)
	}
	w.leaseSoon("ci")
}

// TestRotationWithADeletedNewKeyMakesAnother: an operator has deleted the new key of a
// rotation that was not finished.
func TestRotationWithADeletedNewKeyMakesAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.leaseSoon("ci")
	w.Sim.SetHook(refuseNewKeys(keyID, w))
	w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`)
	w.Eventually("AWS has a new key", func() bool { return len(w.managerKeys()) == 2 && strings.Contains(w.storedConnection("ci"), `"next"`) })
	for _, id := range w.managerKeys() {
		if id != keyID {
			w.Sim.RevokeKey(id)
		}
	}
	w.Sim.SetHook(nil)
	w.Clock.Advance(3 * time.Minute)
	r, _ := w.AnswerWithin(10*time.Second, w.startAdmin(messages.AdminRotateKey, `{"name":"ci"}`))
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] != r.Secret.Connection.AccessKeyID {
		t.Fatalf("%v, keys %v", r.Error, ids)
	}
	w.leaseSoon("ci")
}

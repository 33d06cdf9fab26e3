package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// managerKeys are the ids of the managing user's keys.
func (w *world) managerKeys() []string {
	u, _ := w.Sim.User("manager")
	var ids []string
	for _, k := range u.AccessKeys {
		ids = append(ids, k.ID)
	}
	return ids
}

func TestAKeyIsRotatedUnderLeasesThatAreAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.putNow(strings.Replace(keyed("west", keyID, secret), `"auth"`, `"region":"us-west-2","auth"`, 1))
	old, west := w.Lease("ci", "{}"), w.Lease("west", "{}")
	r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	w.WantKind(r, messages.KindSecret)
	next := r.Secret.Connection.AccessKeyID
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] != next || next == keyID || r.Secret.Connection.RotatedAt.IsZero() {
		t.Fatalf("keys %v, in use %+v, before %s", ids, r.Secret.Connection, keyID)
	}
	// The definition is as it was, may be put again as it was, and the old key is
	// not taken back.
	w.putNow(keyed("ci", keyID, secret))
	for _, lease := range []messages.Reply{old, west} {
		w.WantKind(w.Revoke(lease), messages.KindRevoked)
	}
	w.WaitNoUsers()
	w.Lease("west", "{}")
	if r := w.admin(messages.AdminRotateKey, `{"name":"west"}`); r.Kind != messages.KindSecret {
		t.Fatalf("once more: %+v", r.Error)
	}
	w.Lease("ci", "{}")
}

func TestRotationsThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	second, _ := w.Sim.AddAccessKey("manager")
	r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	if r.Error == nil || !strings.Contains(r.Error.Message, second) || len(w.managerKeys()) != 2 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	w.Sim.RevokeKey(second)
	w.Deny("CreateAccessKey")
	r = w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	if r.Error == nil || r.Error.Code != messages.CodeProviderDenied || len(w.managerKeys()) != 1 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	// Nothing was made, so there is nothing to go on with.
	w.Sim.SetHook(nil)
	if r = w.admin(messages.AdminRotateKey, `{"name":"ci"}`); r.Kind != messages.KindSecret || len(w.managerKeys()) != 1 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
}

// AWS makes the key and the answer is lost: the key that nobody knows is deleted.
func TestAKeyThatARotationLostIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			return iamsim.Verdict{Do: iamsim.DropAfter}
		}
		return iamsim.Verdict{}
	})
	if r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`); r.Error == nil || len(w.managerKeys()) != 2 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	w.Sim.SetHook(nil)
	w.Clock.Advance(3 * time.Minute)
	r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] != r.Secret.Connection.AccessKeyID {
		t.Fatalf("%+v, keys %v", r.Error, ids)
	}
	w.Lease("ci", "{}")
}

// Two operators rotate at once: one does, and the other is told.
func TestTwoRotationsAtOnceMakeOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	var all sync.WaitGroup
	answers := make(chan messages.Reply, 8)
	for range 8 {
		all.Go(func() { answers <- w.admin(messages.AdminRotateKey, `{"name":"ci"}`) })
	}
	all.Wait()
	close(answers)
	done := 0
	for r := range answers {
		if r.Kind == messages.KindSecret {
			done++
		} else if r.Error.Code != messages.CodeUnavailable {
			t.Errorf("%+v", r.Error)
		}
	}
	if ids := w.managerKeys(); done == 0 || len(ids) != 1 || ids[0] == keyID {
		t.Fatalf("%d were done, keys %v", done, ids)
	}
	w.Lease("ci", "{}")
}

// keep writes a connection as another broker would, which has changed it.
func (w *world) keep(secret string, change func(connection map[string]any)) {
	w.T.Helper()
	name, c := "connection."+w.admin(messages.AdminGet, `{"name":"`+secret+`"}`).Secret.Connection.Name, map[string]any{}
	w.NoError(json.Unmarshal([]byte(w.connection(secret)), &c))
	change(c)
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	_, err = kv.PutString(w.Context(), name, mustJSON(c))
	w.NoError(err)
}

// While AWS is asked, another broker begins a rotation: this one does not take it over.
func TestARotationThatAnotherHasJustBegunIsLeftToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	var once sync.Once
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "ListAccessKeys") {
			once.Do(func() {
				w.keep("ci", func(c map[string]any) {
					c["rotation"] = map[string]any{"had": []string{keyID}, "claimed": w.Clock.Now().UTC()}
				})
			})
		}
		return iamsim.Verdict{}
	})
	r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	w.WantError(r, messages.CodeUnavailable)
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] != keyID || !strings.Contains(w.connection("ci"), `"claimed"`) {
		t.Errorf("keys %v, connection %s", ids, w.connection("ci"))
	}
}

// What others write down of a connection meanwhile (a new path, that it is needed) ends
// no rotation, and is not lost.
func TestARotationGoesOnOverWhatIsNotAboutTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.putNow(keyed("ci", keyID, secret))
	w.leased("ci")
	var lists, paths atomic.Int32
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "CreateAccessKey") || isAboutItself(c, "DeleteAccessKey") || isAboutItself(c, "ListAccessKeys") && lists.Add(1) <= 2 {
			w.keep("ci", func(c map[string]any) {
				have, _ := c["paths"].([]any)
				c["paths"] = append(have, fmt.Sprintf("/other/%d/", paths.Add(1)))
			})
		}
		return iamsim.Verdict{}
	})
	r := w.admin(messages.AdminRotateKey, `{"name":"ci"}`)
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] == keyID {
		t.Fatalf("%+v, keys %v", r.Error, ids)
	}
	kept := w.connection("ci")
	for n := range paths.Load() {
		if !strings.Contains(kept, fmt.Sprintf("/other/%d/", n+1)) {
			t.Errorf("path %d of %d is lost: %s", n+1, paths.Load(), kept)
		}
	}
	if paths.Load() < 4 || strings.Contains(kept, `"rotation"`) {
		t.Errorf("written over %d times: %s", paths.Load(), kept)
	}
}

package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestKeyIsRotatedUnderLiveLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.storeSecret(strings.Replace(keyed("west", keyID, secret), `"auth"`, `"region":"us-west-2","auth"`, 1))
	old, west := w.Lease("ci", "{}"), w.Lease("west", "{}")
	r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	w.WantKind(r, messages.KindSecret)
	next := r.Secret.Connection.AccessKeyID
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] != next || next == keyID || r.Secret.Connection.RotatedAt.IsZero() {
		t.Fatalf("keys %v, in use %+v, the first was %s", ids, r.Secret.Connection, keyID)
	}
	// The definition is unchanged and can be put again unchanged; the old key does
	// not come back.
	w.storeSecret(keyed("ci", keyID, secret))
	for _, lease := range []messages.Reply{old, west} {
		w.WantKind(w.Revoke(lease), messages.KindRevoked)
	}
	w.WaitNoUsers()
	w.Lease("west", "{}")
	if r := w.adminSecret(messages.AdminRotateKey, `{"name":"west"}`); r.Kind != messages.KindSecret {
		t.Fatalf("another rotation: %+v", r.Error)
	}
	w.Lease("ci", "{}")
}

func TestImpossibleRotationsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	second, _ := w.Sim.AddAccessKey("manager")
	r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	if r.Error == nil || !strings.Contains(r.Error.Message, second) || len(w.managerKeys()) != 2 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	w.Sim.RevokeKey(second)
	w.Deny("CreateAccessKey")
	r = w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	if r.Error == nil || r.Error.Code != messages.CodeProviderDenied || len(w.managerKeys()) != 1 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	// No key was made, so there is no rotation to continue.
	w.Sim.SetHook(nil)
	if r = w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`); r.Kind != messages.KindSecret || len(w.managerKeys()) != 1 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
}

// TestKeyLostByARotationIsDeleted: AWS makes the key, and the answer is lost.
func TestKeyLostByARotationIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "CreateAccessKey" {
			return iamsim.Verdict{Do: iamsim.DropAfter}
		}
		return iamsim.Verdict{}
	})
	if r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`); r.Error == nil || len(w.managerKeys()) != 2 {
		t.Fatalf("%+v, keys %v", r.Error, w.managerKeys())
	}
	w.Sim.SetHook(nil)
	w.Clock.Advance(3 * time.Minute)
	r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] != r.Secret.Connection.AccessKeyID {
		t.Fatalf("%+v, keys %v", r.Error, ids)
	}
	w.Lease("ci", "{}")
}

// TestConcurrentRotationsMakeOneKey: one is carried out, the others are refused.
func TestConcurrentRotationsMakeOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	var all sync.WaitGroup
	answers := make(chan messages.Reply, 8)
	for range 8 {
		all.Go(func() { answers <- w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`) })
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
		t.Fatalf("%d rotations were carried out, keys %v", done, ids)
	}
	w.Lease("ci", "{}")
}

// TestRotationBegunByAnotherBrokerIsLeftToIt: it begins while this broker asks AWS.
func TestRotationBegunByAnotherBrokerIsLeftToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	var once sync.Once
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "ListAccessKeys") {
			once.Do(func() {
				w.changeConnection("ci", func(c map[string]any) {
					c["rotation"] = map[string]any{"had": []string{keyID}, "claimed": w.Clock.Now().UTC()}
				})
			})
		}
		return iamsim.Verdict{}
	})
	r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	w.WantError(r, messages.CodeUnavailable)
	if ids := w.managerKeys(); len(ids) != 1 || ids[0] != keyID || !strings.Contains(w.storedConnection("ci"), `"claimed"`) {
		t.Errorf("keys %v, connection %s", ids, w.storedConnection("ci"))
	}
}

// TestRotationKeepsUnrelatedChangesOfTheConnection: other brokers write new paths, and
// that the connection is needed, during the rotation.
func TestRotationKeepsUnrelatedChangesOfTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.leaseSoon("ci")
	var lists, paths atomic.Int32
	w.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if isAboutItself(c, "CreateAccessKey") || isAboutItself(c, "DeleteAccessKey") || isAboutItself(c, "ListAccessKeys") && lists.Add(1) <= 2 {
			w.changeConnection("ci", func(c map[string]any) {
				have, _ := c["paths"].([]any)
				c["paths"] = append(have, fmt.Sprintf("/other/%d/", paths.Add(1)))
			})
		}
		return iamsim.Verdict{}
	})
	r := w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`)
	if ids := w.managerKeys(); r.Kind != messages.KindSecret || len(ids) != 1 || ids[0] == keyID {
		t.Fatalf("%+v, keys %v", r.Error, ids)
	}
	kept := w.storedConnection("ci")
	for n := range paths.Load() {
		if !strings.Contains(kept, fmt.Sprintf("/other/%d/", n+1)) {
			t.Errorf("path %d of %d is lost: %s", n+1, paths.Load(), kept)
		}
	}
	if paths.Load() < 4 || strings.Contains(kept, `"rotation"`) {
		t.Errorf("changed %d times: %s", paths.Load(), kept)
	}
}

// TestRotationReachesUnusedConnections: another definition has the same key, and no
// lease has been requested of it.
func TestRotationReachesUnusedConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.storeSecret(west("west", keyID, secret))
	w.leaseSoon("ci")
	w.WantKind(w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`), messages.KindSecret)
	w.leaseSoon("west")
}

// TestDefinitionCanNameARotatedKey: a definition that names the key from before a
// rotation is put for another region.
func TestDefinitionCanNameARotatedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	w.storeSecret(keyed("ci", keyID, secret))
	w.leaseSoon("ci")
	w.WantKind(w.adminSecret(messages.AdminRotateKey, `{"name":"ci"}`), messages.KindSecret)
	w.storeSecret(west("west", keyID, secret))
	w.leaseSoon("west")
	w.leaseSoon("ci")
}

// TestStuckRotationDoesNotDelayDeletions: AWS does not accept the new key of one
// definition, and another is deleted.
func TestStuckRotationDoesNotDelayDeletions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker(quickMaintenance)
	keyID, secret := w.manager()
	w.storeSecret(keyed("keyed", keyID, secret))
	w.Put(b, lessortest.Secret)
	w.leaseSoon("keyed")
	lease := w.leaseSoon("ci")
	w.Sim.SetHook(refuseNewKeys(keyID, w))
	w.startAdmin(messages.AdminRotateKey, `{"name":"keyed"}`)
	w.Eventually("AWS has a new key", func() bool { return strings.Contains(w.storedConnection("keyed"), `"next"`) })
	w.Clock.Advance(3 * time.Minute)
	w.Eventually("the rotation continues", func() bool { return w.Logs.Contain("going on with it") })
	w.adminSecret(messages.AdminDelete, `{"name":"ci"}`)
	w.WaitState(lease.Lease.Name, messages.StateRevoked)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r := w.adminSecret(messages.AdminGet, `{"name":"ci"}`); r.Error != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the deletion does not proceed")
		}
	}
}

package iamsim_test

import (
	"testing"

	"github.com/lessorhq/lessor/provider/iamsim"
)

func TestSetKeyActiveAndRevokeKey(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	id, secret := w.AddPrincipal("caller")
	w.SetKeyActive(id, false)
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
	w.SetKeyActive(id, true)
	w.want(w.identity(id, secret, ""), "")
	w.RevokeKey(id)
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
	if u, _ := w.User("caller"); len(u.AccessKeys) != 0 {
		t.Errorf("the user has the keys %v", u.AccessKeys)
	}
}

package iamsim

import "slices"

// SetKeyActive activates or deactivates an access key of any user.
func (s *Sim) SetKeyActive(accessKeyID string, active bool) {
	s.changeKey(accessKeyID, func(_ *account, k *accessKey) { k.inactive = !active })
}

// RevokeKey deletes an access key of any user. The key stops working at once.
func (s *Sim) RevokeKey(accessKeyID string) {
	s.changeKey(accessKeyID, func(a *account, k *accessKey) {
		k.user.keys = slices.DeleteFunc(k.user.keys, func(other *accessKey) bool { return other == k })
		delete(a.keys, k.id)
	})
}

func (s *Sim) changeKey(id string, f func(*account, *accessKey)) {
	s.change(func(a *account) {
		k := a.keys[id]
		if k == nil || !k.deleted.IsZero() {
			panic("iamsim: no access key " + id)
		}
		f(a, k)
	})
}

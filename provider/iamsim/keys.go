package iamsim

import (
	"slices"
	"strings"
	"time"
)

const maxKeys = 2

// accessKey is a long-lived key of a user.
type accessKey struct {
	id, secret string
	user       *user
	created    time.Time
	inactive   bool
	deleted    time.Time // zero while it exists

	used        time.Time // zero means never
	usedRegion  string
	usedService string
}

func (k *accessKey) status() string {
	if k.inactive {
		return "Inactive"
	}
	return "Active"
}

func (a *account) addKey(u *user, now time.Time) *accessKey {
	k := &accessKey{id: a.random.id("AKIA", 16), secret: a.random.secret(), user: u, created: now}
	a.keys[k.id] = k
	u.keys = append(u.keys, k)
	return k
}

func (a *account) createAccessKey(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	if len(u.keys) >= maxKeys {
		return nil, quotaExceeded("AccessKeysPerUser", maxKeys)
	}
	k := a.addKey(u, r.now)
	a.issued = append(a.issued, k.secret)
	return []node{element("AccessKey",
		text("UserName", u.name),
		text("AccessKeyId", k.id),
		text("Status", k.status()),
		text("SecretAccessKey", k.secret),
		date("CreateDate", k.created),
	)}, nil
}

// keyNamed returns the user's key in AccessKeyId.
func (a *account) keyNamed(r *request) (*accessKey, error) {
	id, err := r.matching("AccessKeyId", 16, 128, keyIDChars)
	if err != nil {
		return nil, err
	}
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(u.keys, func(k *accessKey) bool { return k.id == id })
	if i < 0 {
		return nil, noSuchEntity("The Access Key with id %s cannot be found.", id)
	}
	return u.keys[i], nil
}

func (a *account) deleteAccessKey(r *request) ([]node, error) {
	k, err := a.keyNamed(r)
	if err != nil {
		return nil, err
	}
	k.user.keys = slices.DeleteFunc(k.user.keys, func(other *accessKey) bool { return other == k })
	k.deleted = r.now
	a.deletedKeys = append(a.deletedKeys, k)
	a.purgeKeys(r.now, r.faults.DeletedVisibleFor)
	return nil, nil
}

// purgeKeys removes deleted keys that do not work any more.
func (a *account) purgeKeys(now time.Time, visibleFor time.Duration) {
	dead := 0
	for _, k := range a.deletedKeys {
		if now.Sub(k.deleted) < visibleFor {
			break
		}
		delete(a.keys, k.id)
		dead++
	}
	a.deletedKeys = slices.Delete(a.deletedKeys, 0, dead)
}

func (a *account) updateAccessKey(r *request) ([]node, error) {
	status, err := r.sized("Status", 1, 128)
	if err != nil {
		return nil, err
	}
	if status != "Active" && status != "Inactive" {
		return nil, invalidParam("Status", status, "Member must satisfy enum value set: [Active, Inactive]")
	}
	k, err := a.keyNamed(r)
	if err != nil {
		return nil, err
	}
	k.inactive = status == "Inactive"
	return nil, nil
}

func (a *account) listAccessKeys(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "AccessKeyMetadata", u.keys, func(k *accessKey) string { return k.id }, func(k *accessKey) node {
		return member(
			text("UserName", u.name),
			text("AccessKeyId", k.id),
			text("Status", k.status()),
			date("CreateDate", k.created),
		)
	})
}

func (a *account) accessKeyLastUsed(r *request) ([]node, error) {
	id, err := r.matching("AccessKeyId", 16, 128, keyIDChars)
	if err != nil {
		return nil, err
	}
	k := a.keys[id]
	if k == nil || !k.deleted.IsZero() {
		return nil, noSuchEntity("The Access Key with id %s cannot be found.", id)
	}
	used := []node{text("Region", "N/A"), text("ServiceName", "N/A")}
	if !k.used.IsZero() {
		used = []node{date("LastUsedDate", k.used), text("Region", k.usedRegion), text("ServiceName", k.usedService)}
	}
	return []node{text("UserName", k.user.name), element("AccessKeyLastUsed", used...)}, nil
}

// works reports whether AWS accepts the key now.
func (k *accessKey) works(now time.Time, f Faults) bool {
	switch {
	case k.inactive:
		return false
	case !k.deleted.IsZero():
		return now.Sub(k.deleted) < f.DeletedVisibleFor
	default:
		return k.user.managing || now.Sub(k.created) >= f.VisibleAfter
	}
}

// isTemporary reports whether a key id is that of a session.
func isTemporary(keyID string) bool { return strings.HasPrefix(keyID, "ASIA") }

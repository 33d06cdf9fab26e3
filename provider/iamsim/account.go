package iamsim

import (
	"slices"
	"strings"
	"time"
)

// account is the state of the AWS account. It has no lock of its own: Sim holds its lock around every use.
type account struct {
	id, partition string
	maxUsers      int
	random        *random

	users     map[string]*user // by lower-case name, because IAM names ignore case
	order     userOrder        // the same users in order of creation
	unmanaged int              // number of users without those of AddPrincipal

	groups     map[string]*group    // by lower-case name
	roles      map[string]*role     // by lower-case name
	policies   map[string]string    // customer managed policies: document by ARN
	policyRead map[string]*policy   // cache of parsed policies by document; see read
	virtual    map[string]*user     // users of virtual MFA devices by serial number; nil if deactivated
	providers  map[string]*provider // OIDC providers by host

	keys        map[string]*accessKey // by id, including deleted keys that still work
	deletedKeys []*accessKey          // deleted keys that still work, oldest first
	sessions    sessions
	issued      []string // secrets in order of creation
}

func newAccount(id, partition string, maxUsers int, r *random) *account {
	return &account{
		id: id, partition: partition, maxUsers: maxUsers, random: r,
		users:      map[string]*user{},
		groups:     map[string]*group{},
		roles:      map[string]*role{},
		policies:   map[string]string{},
		policyRead: map[string]*policy{},
		virtual:    map[string]*user{},
		providers:  map[string]*provider{},
		keys:       map[string]*accessKey{},
		sessions:   sessions{byKey: map[string]*session{}},
	}
}

// arn returns the ARN of a resource of this account, such as user/alice.
func (a *account) arn(service, rest string) string {
	return "arn:" + a.partition + ":" + service + "::" + a.id + ":" + rest
}

// user is an IAM user. Its collections are slices, because they are small and an account has many users.
type user struct {
	id, name, path string
	created        time.Time
	seq            int
	managing       bool // created by AddPrincipal
	deleted        bool

	grants
	boundary string // ARN, or ""
	tags     []tag
	groups   []*group
	keys     []*accessKey
	extras   *extras // nil for most users
}

// grants are the policies of a user, a group or a role.
type grants struct {
	inline   []inlinePolicy
	attached []string // ARNs
}

type inlinePolicy struct{ name, document string }

type tag struct{ key, value string }

type group struct {
	id, name, path string
	created        time.Time
	grants
}

func (a *account) userARN(u *user) string   { return a.arn("iam", "user"+u.path+u.name) }
func (a *account) groupARN(g *group) string { return a.arn("iam", "group"+g.path+g.name) }

func (a *account) addUser(name, path string, now time.Time) *user {
	u := &user{id: a.random.id("AIDA", 17), name: name, path: path, created: now}
	a.users[strings.ToLower(name)] = u
	a.order.add(u)
	a.unmanaged++
	return u
}

func (a *account) removeUser(u *user) {
	u.deleted = true
	delete(a.users, strings.ToLower(u.name))
	a.order.remove()
	if !u.managing {
		a.unmanaged--
	}
}

// userOrder holds users in order of creation, so that a list call can continue at a marker without sorting.
type userOrder struct {
	users   []*user // ascending seq; deleted users are removed when they are the majority
	next    int
	deleted int
}

func (o *userOrder) add(u *user) {
	o.next++
	u.seq = o.next
	o.users = append(o.users, u)
}

func (o *userOrder) remove() {
	o.deleted++
	if o.deleted > len(o.users)/2 {
		o.users = slices.DeleteFunc(o.users, func(u *user) bool { return u.deleted })
		o.deleted = 0
	}
}

// after returns the users that were created after the one with this seq.
func (o *userOrder) after(seq int) []*user {
	i, _ := slices.BinarySearchFunc(o.users, seq+1, func(u *user, seq int) int { return u.seq - seq })
	return o.users[i:]
}

package iamsim

import (
	"slices"
	"strings"
	"time"
)

// User is the state of an IAM user, even if faults hide it from calls.
type User struct {
	Name, Path, ID, ARN string
	CreateDate          time.Time
	Tags                map[string]string
	Groups              []string
	AttachedPolicies    []string          // ARNs
	InlinePolicies      map[string]string // documents by name
	Boundary            string            // ARN, or ""
	AccessKeys          []AccessKey

	LoginProfile               bool
	MFADevices                 []string // serial numbers
	SSHKeys                    []string // ids
	SigningCertificates        []string // ids
	ServiceSpecificCredentials []string // ids
}

// AccessKey is an access key without its secret.
type AccessKey struct {
	ID         string
	Status     string // Active or Inactive
	CreateDate time.Time
}

// Users returns all users in order of creation, without those of AddPrincipal.
func (s *Sim) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := make([]User, 0, s.account.unmanaged)
	for _, u := range s.account.order.users {
		if !u.deleted && !u.managing {
			users = append(users, s.account.snapshot(u))
		}
	}
	return users
}

// User returns a user and reports whether it exists.
func (s *Sim) User(name string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.account.users[strings.ToLower(name)]
	if u == nil {
		return User{}, false
	}
	return s.account.snapshot(u), true
}

// UserCount returns the number of users that Users returns.
func (s *Sim) UserCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account.unmanaged
}

// VirtualMFADevices returns the serial numbers of all virtual MFA devices, including those without a user.
func (s *Sim) VirtualMFADevices() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	serials := make([]string, 0, len(s.account.virtual))
	for serial := range s.account.virtual {
		serials = append(serials, serial)
	}
	slices.Sort(serials)
	return serials
}

// RolePolicies returns the documents of a role's inline policies by name.
func (s *Sim) RolePolicies(roleName string) map[string]string {
	policies := map[string]string{}
	s.changeRole(roleName, func(x *role) {
		for _, p := range x.inline {
			policies[p.name] = p.document
		}
	})
	return policies
}

// IssuedSecrets returns every secret access key of CreateAccessKey, even if the response was lost, and the secret and
// the token of every session. A test can search files and logs for them.
func (s *Sim) IssuedSecrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.account.issued)
}

func (a *account) snapshot(u *user) User {
	out := User{
		Name: u.name, Path: u.path, ID: u.id, ARN: a.userARN(u), CreateDate: u.created,
		Tags:             map[string]string{},
		AttachedPolicies: slices.Clone(u.attached),
		InlinePolicies:   map[string]string{},
		Boundary:         u.boundary,
	}
	for _, t := range u.tags {
		out.Tags[t.key] = t.value
	}
	for _, g := range u.groups {
		out.Groups = append(out.Groups, g.name)
	}
	for _, p := range u.inline {
		out.InlinePolicies[p.name] = p.document
	}
	for _, k := range u.keys {
		out.AccessKeys = append(out.AccessKeys, AccessKey{k.id, k.status(), k.created})
	}
	x := u.peek()
	out.LoginProfile = !x.login.IsZero()
	out.MFADevices = extraIDs(x.devices)
	out.SSHKeys = extraIDs(x.sshKeys)
	out.SigningCertificates = extraIDs(x.certificates)
	out.ServiceSpecificCredentials = extraIDs(x.serviceCredentials)
	return out
}

func extraIDs(extras []extra) []string {
	var ids []string
	for _, x := range extras {
		ids = append(ids, x.id)
	}
	return ids
}

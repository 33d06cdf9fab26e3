package iamsim

import (
	"maps"
	"slices"
	"strings"
)

// The methods in this file change the account directly, as an administrator does. They need no permission and are not
// logged as calls. They panic if a name does not exist or a value is malformed, because that is an error in the test.

// AddPrincipal creates an IAM user with AdministratorAccess and an access key, for a broker. Over the wire it is a user
// like any other, but Users does not return it, quotas do not count it, and visibility faults do not apply to it.
func (s *Sim) AddPrincipal(name string) (accessKeyID, secretAccessKey string) {
	return s.AddPrincipalWithPolicy(name, awsPolicies["AdministratorAccess"])
}

// AddPrincipalWithPolicy is AddPrincipal with an inline policy instead of AdministratorAccess.
func (s *Sim) AddPrincipalWithPolicy(name, document string) (accessKeyID, secretAccessKey string) {
	s.change(func(a *account) {
		must(checkPolicy(document))
		u := a.addForeign(name, "/", s)
		u.managing = true
		a.unmanaged--
		u.setInline("principal", document)
		k := a.addKey(u, u.created)
		accessKeyID, secretAccessKey = k.id, k.secret
	})
	return accessKeyID, secretAccessKey
}

// AddUser creates a user. Quotas do not apply.
func (s *Sim) AddUser(name, path string, tags map[string]string) {
	s.change(func(a *account) {
		u := a.addForeign(name, path, s)
		for _, key := range slices.Sorted(maps.Keys(tags)) {
			u.tags = append(u.tags, tag{key, tags[key]})
		}
	})
}

func (a *account) addForeign(name, path string, s *Sim) *user {
	if a.users[strings.ToLower(name)] != nil || !nameChars.MatchString(name) || !pathChars.MatchString(path) {
		panic("iamsim: cannot add user " + path + name)
	}
	return a.addUser(name, path, s.now())
}

// AddAccessKey creates an access key for a user. Its secret is not in IssuedSecrets.
func (s *Sim) AddAccessKey(userName string) (accessKeyID, secretAccessKey string) {
	s.changeUser(userName, func(a *account, u *user) {
		k := a.addKey(u, s.now())
		accessKeyID, secretAccessKey = k.id, k.secret
	})
	return accessKeyID, secretAccessKey
}

// AddGroup creates a group without permissions.
func (s *Sim) AddGroup(name string) { s.AddGroupAt("/", name) }

// AddGroupAt is AddGroup with a path.
func (s *Sim) AddGroupAt(path, name string) {
	s.change(func(a *account) {
		if a.groups[strings.ToLower(name)] != nil || !nameChars.MatchString(name) || !pathChars.MatchString(path) {
			panic("iamsim: cannot add group " + path + name)
		}
		a.groups[strings.ToLower(name)] = &group{id: a.random.id("AGPA", 17), name: name, path: path, created: s.now()}
	})
}

// AddGroupPolicy adds an inline policy to a group.
func (s *Sim) AddGroupPolicy(groupName, policyName, document string) {
	s.change(func(a *account) {
		must(checkPolicy(document))
		g := a.groups[strings.ToLower(groupName)]
		if g == nil {
			panic("iamsim: no group " + groupName)
		}
		g.setInline(policyName, document)
	})
}

// AddPolicy creates or replaces a customer managed policy. AWS managed policies exist already.
func (s *Sim) AddPolicy(arn, document string) {
	s.change(func(a *account) {
		must(checkPolicy(document))
		if !policyARN.MatchString(arn) {
			panic("iamsim: not the ARN of a policy: " + arn)
		}
		a.policies[arn] = document
	})
}

// RemovePolicy deletes a customer managed policy, even if it is attached.
func (s *Sim) RemovePolicy(arn string) {
	s.change(func(a *account) { delete(a.policies, arn) })
}

// AttachPolicy attaches a managed policy to a user.
func (s *Sim) AttachPolicy(userName, arn string) {
	s.changeUser(userName, func(a *account, u *user) {
		if _, ok := a.managedPolicy(arn); !ok {
			panic("iamsim: no policy " + arn)
		}
		if !slices.Contains(u.attached, arn) {
			u.attached = append(u.attached, arn)
		}
	})
}

// AddInlinePolicy adds an inline policy to a user.
func (s *Sim) AddInlinePolicy(userName, policyName, document string) {
	s.changeUser(userName, func(_ *account, u *user) {
		must(checkPolicy(document))
		u.setInline(policyName, document)
	})
}

// AddToGroup adds a user to a group.
func (s *Sim) AddToGroup(userName, groupName string) {
	s.changeUser(userName, func(a *account, u *user) {
		g := a.groups[strings.ToLower(groupName)]
		if g == nil {
			panic("iamsim: no group " + groupName)
		}
		if !slices.Contains(u.groups, g) {
			u.groups = append(u.groups, g)
		}
	})
}

// AddLoginProfile adds a login profile to a user.
func (s *Sim) AddLoginProfile(userName string) {
	s.changeUser(userName, func(_ *account, u *user) { u.extra().login = s.now() })
}

// AddMFADevice enables an MFA device for a user and returns its serial number. A virtual device continues to exist
// after it is deactivated.
func (s *Sim) AddMFADevice(userName string, virtual bool) (serial string) {
	s.changeUser(userName, func(a *account, u *user) {
		serial = a.random.id("GAHT", 8)
		if virtual {
			serial = a.arn("iam", "mfa/"+u.name+"-"+serial)
			a.virtual[serial] = u
		}
		u.extra().devices = append(u.extra().devices, extra{serial, s.now()})
	})
	return serial
}

// AddSSHKey uploads an SSH public key for a user and returns its id.
func (s *Sim) AddSSHKey(userName string) (id string) {
	return s.addExtra(userName, "APKA", 16, func(x *extras) *[]extra { return &x.sshKeys })
}

// AddSigningCertificate uploads a signing certificate for a user and returns its id.
func (s *Sim) AddSigningCertificate(userName string) (id string) {
	return s.addExtra(userName, "", 24, func(x *extras) *[]extra { return &x.certificates })
}

// AddServiceSpecificCredential creates a credential for CodeCommit for a user and returns its id.
func (s *Sim) AddServiceSpecificCredential(userName string) (id string) {
	return s.addExtra(userName, "ACCA", 17, func(x *extras) *[]extra { return &x.serviceCredentials })
}

func (s *Sim) addExtra(userName, prefix string, n int, to func(*extras) *[]extra) (id string) {
	s.changeUser(userName, func(a *account, u *user) {
		id = a.random.id(prefix, n)
		where := to(u.extra())
		*where = append(*where, extra{id, s.now()})
	})
	return id
}

// RemoveUser deletes a user and everything that belongs to it.
func (s *Sim) RemoveUser(name string) {
	s.changeUser(name, func(a *account, u *user) {
		for _, k := range u.keys {
			delete(a.keys, k.id)
		}
		u.keys = nil
		maps.DeleteFunc(a.virtual, func(_ string, owner *user) bool { return owner == u })
		a.removeUser(u)
	})
}

func (s *Sim) change(f func(*account)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.account)
}

func (s *Sim) changeUser(name string, f func(*account, *user)) {
	s.change(func(a *account) {
		u := a.users[strings.ToLower(name)]
		if u == nil {
			panic("iamsim: no user " + name)
		}
		f(a, u)
	})
}

func must(err error) {
	if err != nil {
		panic("iamsim: " + err.Error())
	}
}

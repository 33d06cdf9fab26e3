package iamsim

import (
	"strings"
	"time"
)

// userNamed returns the user in UserName or, without it, the caller.
func (a *account) userNamed(r *request) (*user, error) {
	if !r.form.Has("UserName") {
		if r.caller == nil || r.caller.user == nil {
			return nil, validation("Must specify userName when calling with non-User credentials")
		}
		return r.caller.user, nil
	}
	name, err := r.name("UserName", 128)
	if err != nil {
		return nil, err
	}
	u := a.users[strings.ToLower(name)]
	if u == nil || !u.visible(r) {
		return nil, noSuchEntity("The user with name %s cannot be found.", name)
	}
	return u, nil
}

// mustUser is userNamed for calls that require UserName.
func (a *account) mustUser(r *request) (*user, error) {
	if _, err := r.name("UserName", 128); err != nil {
		return nil, err
	}
	return a.userNamed(r)
}

// visible reports whether calls see the user already; see [Faults.UserVisibleAfter].
func (u *user) visible(r *request) bool {
	return u.managing || r.age(u.created) >= r.faults.UserVisibleAfter
}

func (a *account) createUser(r *request) ([]node, error) {
	name, err := r.name("UserName", 64)
	if err != nil {
		return nil, err
	}
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	tags, err := r.tags(true)
	if err != nil {
		return nil, err
	}
	boundary := ""
	if r.form.Has("PermissionsBoundary") {
		if boundary, err = a.boundaryParam(r); err != nil {
			return nil, err
		}
	}
	if a.users[strings.ToLower(name)] != nil {
		return nil, alreadyExists("User with name %s already exists.", name)
	}
	if a.unmanaged >= a.maxUsers {
		return nil, quotaExceeded("UsersPerAccount", a.maxUsers)
	}
	u := a.addUser(name, path, r.now)
	u.tags, u.boundary = tags, boundary
	return []node{element("User", a.userNodes(u, true)...)}, nil
}

func (a *account) getUser(r *request) ([]node, error) {
	u, err := a.userNamed(r)
	if err != nil {
		return nil, err
	}
	return []node{element("User", a.userNodes(u, true)...)}, nil
}

// listUsers returns users without tags and boundaries, as with AWS.
func (a *account) listUsers(r *request) ([]node, error) {
	prefix := "/"
	if r.form.Has("PathPrefix") {
		var err error
		if prefix, err = r.matching("PathPrefix", 1, 512, prefixChars); err != nil {
			return nil, err
		}
	}
	p, err := r.page()
	if err != nil {
		return nil, err
	}
	seq, err := p.afterNumber()
	if err != nil {
		return nil, err
	}
	var members []node
	more := false
	for _, u := range a.order.after(seq) {
		if u.deleted || !strings.HasPrefix(u.path, prefix) || !u.visible(r) {
			continue
		}
		if len(members) == p.size {
			more = true
			break
		}
		members = append(members, member(a.userNodes(u, false)...))
		seq = u.seq
	}
	return p.answer("Users", members, more, numberMarker(seq)), nil
}

func (a *account) userNodes(u *user, details bool) []node {
	nodes := []node{
		text("Path", u.path),
		text("UserName", u.name),
		text("UserId", u.id),
		text("Arn", a.userARN(u)),
		date("CreateDate", u.created),
	}
	if details && u.boundary != "" {
		nodes = append(nodes, element("PermissionsBoundary",
			text("PermissionsBoundaryType", "PermissionsBoundaryPolicy"),
			text("PermissionsBoundaryArn", u.boundary)))
	}
	if details && len(u.tags) > 0 {
		nodes = append(nodes, list("Tags", tagNodes(u.tags)))
	}
	return nodes
}

// deleteUser fails with DeleteConflict unless the user is empty, as with AWS.
func (a *account) deleteUser(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	x := u.peek()
	for _, conflict := range []struct {
		exists bool
		remedy string
	}{
		{len(u.keys) > 0, "delete access keys"},
		{!x.login.IsZero(), "delete login profile"},
		{len(x.devices) > 0, "delete MFA device"},
		{len(x.certificates) > 0, "delete signing certificates"},
		{len(x.sshKeys) > 0, "delete SSH public keys"},
		{len(x.serviceCredentials) > 0, "delete service specific credentials"},
		{len(u.inline) > 0, "delete policies"},
		{len(u.attached) > 0, "detach all policies"},
		{len(u.groups) > 0, "remove users from group"},
	} {
		if conflict.exists {
			return nil, deleteConflict("Cannot delete entity, must %s first.", conflict.remedy)
		}
	}
	a.removeUser(u)
	return nil, nil
}

// boundaryParam returns the PermissionsBoundary parameter, the ARN of an existing policy.
func (a *account) boundaryParam(r *request) (string, error) {
	arn, err := r.policyARN("PermissionsBoundary")
	if err != nil {
		return "", err
	}
	if _, ok := a.managedPolicy(arn); !ok {
		return "", noSuchEntity("Scope ARN: %s does not exist or is not attachable.", arn)
	}
	return arn, nil
}

func (a *account) putBoundary(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	boundary, err := a.boundaryParam(r)
	if err != nil {
		return nil, err
	}
	u.boundary = boundary
	return nil, nil
}

func (a *account) deleteBoundary(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	if u.boundary == "" {
		return nil, noSuchEntity("Permission boundary of user %s does not exist.", u.name)
	}
	u.boundary = ""
	return nil, nil
}

// age returns the age of something by the account's clock.
func (r *request) age(created time.Time) time.Duration { return r.now.Sub(created) }

package iamsim

import (
	"cmp"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// permission is the permission that a call requires.
type permission struct {
	resource string // ARN
	name     string // name of the resource in the error; "" is the ARN
	user     *user  // the user that is the resource, if it exists
	facts    facts  // about the request
}

// boundaryActions are the actions on existing users that support the condition key iam:PermissionsBoundary.
var boundaryActions = []string{"PutUserPolicy", "DeleteUserPolicy", "AttachUserPolicy", "DetachUserPolicy",
	"PutUserPermissionsBoundary", "DeleteUserPermissionsBoundary"}

// authorize returns AccessDenied if the caller's policies do not allow the call.
func (a *account) authorize(r *request) error {
	if r.op.needs == nil {
		return nil
	}
	need := r.op.needs(a, r)
	f := a.factsAbout(r.caller, r.now)
	for key, values := range need.facts {
		f[key] = values
	}
	if host, _, err := net.SplitHostPort(r.http.RemoteAddr); err == nil {
		f.set("aws:SourceIp", host)
	}
	if u := need.user; u != nil {
		for _, t := range u.tags {
			f.set("aws:ResourceTag/"+t.key, t.value)
			f.set("iam:ResourceTag/"+t.key, t.value)
		}
	}
	if err := a.require(r.caller, r.svc.name+":"+r.action, need, f); err != nil {
		return err
	}
	if r.action != "CreateUser" || !r.form.Has("Tags.member.1.Key") {
		return nil
	}
	delete(f, strings.ToLower("iam:PermissionsBoundary")) // TagUser does not support it
	return a.require(r.caller, "iam:TagUser", need, f)
}

// require returns AccessDenied if the caller's policies do not allow the action.
func (a *account) require(c *caller, action string, need permission, f facts) error {
	if ok, why := a.evaluate(c, action, need.resource, f); !ok {
		return accessDenied("User: %s is not authorized to perform: %s on resource: %s %s", c.arn, action, cmp.Or(need.name, need.resource), why)
	}
	return nil
}

// factsAbout returns the condition keys of the caller and the time, which every call has.
func (a *account) factsAbout(c *caller, now time.Time) facts {
	f := facts{}
	f.set("aws:CurrentTime", now.UTC().Format(time.RFC3339Nano))
	f.set("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	f.set("aws:PrincipalArn", c.arn)
	f.set("aws:PrincipalAccount", a.id)
	f.set("aws:userid", c.id)
	if c.role != nil {
		f.set("aws:PrincipalArn", a.roleARN(c.role))
		f.set("aws:PrincipalType", "AssumedRole")
	}
	for _, t := range c.tags {
		f.set("aws:PrincipalTag/"+t.key, t.value)
	}
	if c.user != nil {
		f.set("aws:username", c.user.name)
		f.set("aws:PrincipalType", "User")
		for _, t := range c.user.tags {
			f.set("aws:PrincipalTag/"+t.key, t.value)
		}
	}
	return f
}

func onNewUser(a *account, r *request) permission {
	p := permission{resource: a.arn("iam", "user"+cmp.Or(r.get("Path"), "/")+r.get("UserName")), facts: r.tagFacts()}
	if r.form.Has("PermissionsBoundary") {
		p.facts.set("iam:PermissionsBoundary", r.get("PermissionsBoundary"))
	}
	return p
}

// onUser is the permission for the user in UserName or, without it, for the caller. If the user does not exist or is
// not visible yet, its path is unknown: AWS then checks a user without a path, and its error has no ARN.
func onUser(a *account, r *request) permission {
	u := a.users[strings.ToLower(r.get("UserName"))]
	if !r.form.Has("UserName") {
		u = r.caller.user
	}
	if u == nil || !u.visible(r) {
		name := r.get("UserName")
		return permission{resource: a.arn("iam", "user/"+name), name: "user " + name, facts: r.userFacts(nil)}
	}
	return permission{resource: a.userARN(u), user: u, facts: r.userFacts(u)}
}

// userFacts returns the condition keys of a change to a user.
func (r *request) userFacts(u *user) facts {
	f := r.tagFacts()
	if r.form.Has("PolicyArn") {
		f.set("iam:PolicyARN", r.get("PolicyArn"))
	}
	if !slices.Contains(boundaryActions, r.action) {
		return f
	}
	if r.action == "PutUserPermissionsBoundary" {
		f.set("iam:PermissionsBoundary", r.get("PermissionsBoundary"))
	} else if u != nil && u.boundary != "" {
		f.set("iam:PermissionsBoundary", u.boundary)
	}
	return f
}

// setTags sets the condition keys of the tags of a new session.
func (f facts) setTags(tags []tag) {
	if len(tags) == 0 {
		return
	}
	var keys []string
	for _, t := range tags {
		keys = append(keys, t.key)
		f.set("aws:RequestTag/"+t.key, t.value)
	}
	f.set("aws:TagKeys", keys...)
}

func (r *request) tagFacts() facts {
	f := facts{}
	keys := r.members("TagKeys")
	for i := 1; r.form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		key := r.get(fmt.Sprintf("Tags.member.%d.Key", i))
		keys = append(keys, key)
		f.set("aws:RequestTag/"+key, r.get(fmt.Sprintf("Tags.member.%d.Value", i)))
	}
	if keys != nil {
		f.set("aws:TagKeys", keys...)
	}
	return f
}

func onUsers(a *account, _ *request) permission { return permission{resource: a.arn("iam", "user/")} }

func onKeysUser(a *account, r *request) permission {
	if k := a.keys[r.get("AccessKeyId")]; k != nil {
		return permission{resource: a.userARN(k.user), user: k.user}
	}
	return permission{resource: a.arn("iam", "user/")}
}

func onGroup(a *account, r *request) permission {
	if g := a.groups[strings.ToLower(r.get("GroupName"))]; g != nil {
		return permission{resource: a.groupARN(g)}
	}
	return permission{resource: a.arn("iam", "group/"+r.get("GroupName"))}
}

func onDevice(a *account, r *request) permission {
	return permission{resource: a.arn("iam", "mfa/"+path.Base(r.get("SerialNumber")))}
}

// onRole is the permission for the role in RoleName. If it does not exist, its path is unknown.
func onRole(a *account, r *request) permission {
	if x := a.roles[strings.ToLower(r.get("RoleName"))]; x != nil {
		return permission{resource: a.roleARN(x)}
	}
	return permission{resource: a.arn("iam", "role/"+r.get("RoleName"))}
}

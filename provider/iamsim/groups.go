package iamsim

import (
	"slices"
	"strings"
)

const maxGroups = 10

func (a *account) groupNamed(r *request) (*group, error) {
	name, err := r.name("GroupName", 128)
	if err != nil {
		return nil, err
	}
	g := a.groups[strings.ToLower(name)]
	if g == nil {
		return nil, noSuchEntity("The group with name %s cannot be found.", name)
	}
	return g, nil
}

func (a *account) addUserToGroup(r *request) ([]node, error) {
	g, err := a.groupNamed(r)
	if err != nil {
		return nil, err
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	if slices.Contains(u.groups, g) {
		return nil, nil
	}
	if len(u.groups) >= maxGroups {
		return nil, quotaExceeded("GroupsPerUser", maxGroups)
	}
	u.groups = append(u.groups, g)
	return nil, nil
}

// removeUserFromGroup succeeds for a user that is not a member, as with AWS.
func (a *account) removeUserFromGroup(r *request) ([]node, error) {
	g, err := a.groupNamed(r)
	if err != nil {
		return nil, err
	}
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	u.groups = slices.DeleteFunc(u.groups, func(other *group) bool { return other == g })
	return nil, nil
}

func (a *account) listGroupsForUser(r *request) ([]node, error) {
	u, err := a.mustUser(r)
	if err != nil {
		return nil, err
	}
	return listed(r, "Groups", u.groups, func(g *group) string { return g.name }, func(g *group) node {
		return member(
			text("Path", g.path),
			text("GroupName", g.name),
			text("GroupId", g.id),
			text("Arn", a.groupARN(g)),
			date("CreateDate", g.created),
		)
	})
}

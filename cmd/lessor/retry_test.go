//go:build unix

package main

import (
	"strings"
	"testing"
)

func TestFailedRevocationsAreListedRetriedAndGivenUp(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.put(plain)
	stuck, other := o.lease("ci").Lease.Name, o.lease("ci").Lease.Name
	o.says(exitOK, "", "no lease that could not be revoked", "list", "--failed")
	o.says(exitOK, "0 leases are tried again", "", "retry")
	o.refuse("DeleteUser")
	o.says(exitFailed, "", "provider_unavailable", "revoke", stuck)
	list := o.ok(t, "list", "--failed")
	if !strings.Contains(list, stuck) || strings.Contains(list, other) || !strings.Contains(list, "AWS answered DeleteUser with AccessDenied") {
		t.Errorf("it prints\n%s", list)
	}
	o.says(exitFailed, "", "revoke it first", "revoke", other, "--force")
	o.says(exitOK, "revoked", "", "revoke", stuck, "--force", "--reason", "closed")
	o.says(exitOK, "", "no lease that could not be revoked", "list", "--failed")
	o.says(exitFailed, "", "provider_unavailable", "revoke", other)
	o.relent()
	o.says(exitOK, "1 lease is tried again", "", "retry", "--secret", "ci")
	o.says(exitUsage, "", "LEASE, and got 2", "retry", "a.b.c", "d.e.f")
	o.says(exitUsage, "", "lease", "retry", "a.b")
	o.says(exitUsage, "", "--state", "list", "--failed", "--state", "active")
}

//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func TestFailedRevocationsAreListedRetriedAndGivenUp(t *testing.T) {
	t.Parallel()
	o := newOffice(t, clitest.Options{})
	o.put(plain)
	stuck, other := o.lease("ci").Lease.Name, o.lease("ci").Lease.Name
	o.says(cli.ExitOK, "", "no lease that could not be revoked", "list", "--failed")
	o.says(cli.ExitOK, "0 leases are tried again", "", "retry")
	o.Refuse("DeleteUser")
	o.says(cli.ExitFailed, "", "provider_unavailable", "revoke", stuck)
	list := o.OK(t, "list", "--failed")
	if !strings.Contains(list, stuck) || strings.Contains(list, other) || !strings.Contains(list, "AWS answered DeleteUser with AccessDenied") {
		t.Errorf("it prints\n%s", list)
	}
	o.says(cli.ExitFailed, "", "revoke it first", "revoke", other, "--force")
	o.says(cli.ExitOK, "revoked", "", "revoke", stuck, "--force", "--reason", "closed")
	o.says(cli.ExitOK, "", "no lease that could not be revoked", "list", "--failed")
	o.says(cli.ExitFailed, "", "provider_unavailable", "revoke", other)
	o.relent()
	o.says(cli.ExitOK, "1 lease is tried again", "", "retry", "--secret", "ci")
	o.says(cli.ExitUsage, "", "LEASE, and got 2", "retry", "a.b.c", "d.e.f")
	o.says(cli.ExitUsage, "", "lease", "retry", "a.b")
	o.says(cli.ExitUsage, "", "--state", "list", "--failed", "--state", "active")
}

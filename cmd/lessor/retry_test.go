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
	o := newDeployment(t, clitest.Options{})
	o.put(plain)
	stuck, other := o.lease("ci").Lease.Name, o.lease("ci").Lease.Name
	o.expect(cli.ExitOK, "", "no leases could not be revoked", "list", "--failed")
	o.expect(cli.ExitOK, "0 leases are retried", "", "retry")
	o.Deny("DeleteUser")
	o.expect(cli.ExitFailed, "", "provider_unavailable", "revoke", stuck)
	list := o.OK(t, "list", "--failed")
	if !strings.Contains(list, stuck) || strings.Contains(list, other) || !strings.Contains(list, "AWS answered DeleteUser with AccessDenied") {
		t.Errorf("it prints\n%s", list)
	}
	o.expect(cli.ExitFailed, "", "revoke it first", "revoke", other, "--force")
	o.expect(cli.ExitOK, "revoked", "", "revoke", stuck, "--force", "--reason", "closed")
	o.expect(cli.ExitOK, "", "no leases could not be revoked", "list", "--failed")
	o.expect(cli.ExitFailed, "", "provider_unavailable", "revoke", other)
	o.allowAll()
	o.expect(cli.ExitOK, "1 lease is retried", "", "retry", "--secret", "ci")
	o.expect(cli.ExitUsage, "", "LEASE, not 2", "retry", "a.b.c", "d.e.f")
	o.expect(cli.ExitUsage, "", "lease", "retry", "a.b")
	o.expect(cli.ExitUsage, "", "--state", "list", "--failed", "--state", "active")
}

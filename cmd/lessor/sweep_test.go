//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

func TestSweepOfAnAccountWithoutOrphans(t *testing.T) {
	t.Parallel()
	o := newDeployment(t, clitest.Options{})
	o.put(plain)
	lease := o.lease("ci").Lease.Name
	out := o.OK(t, "sweep")
	if !strings.Contains(out, "123456789012") || !strings.Contains(out, "ok") {
		t.Errorf("it prints\n%s", out)
	}
	o.OK(t, "revoke", lease)
	o.expect(cli.ExitOK, `{"kind":"sweep","sweeps":[{"connection":"`, "", "sweep", "--json", "--apply")
}

func TestSweepShowsWhatIsLeft(t *testing.T) {
	at := time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		sweep messages.Sweep
		words []string
		left  bool
	}{
		{messages.Sweep{Connection: "default-us-east-1", Users: 3}, []string{"default-us-east-1  -        3      0        ok"}, false},
		{messages.Sweep{Connection: "c", Orphans: []messages.Orphan{{Username: "lost", Lease: "a.b.c", CreatedAt: at, Removed: true}}}, []string{"lost  a.b.c  2026-11-22 22:00  removed"}, false},
		{messages.Sweep{Connection: "c", AwaitsConsent: true, Orphans: []messages.Orphan{{Username: "lost", CreatedAt: at}}}, []string{"there are many", "--apply", "not removed"}, true},
		{messages.Sweep{Connection: "c", Orphans: []messages.Orphan{{Username: "lost", CreatedAt: at, Error: "AWS answered\nDeleteUser"}}}, []string{"AWS answered; DeleteUser"}, true},
		{messages.Sweep{Connection: "c", Error: "AWS is away"}, []string{"AWS is away"}, true},
	} {
		var b strings.Builder
		if err := printSweeps(&b, []messages.Sweep{c.sweep}); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.words {
			if !strings.Contains(b.String(), w) {
				t.Errorf("no %q in\n%s", w, b.String())
			}
		}
		if err := leftover([]messages.Sweep{c.sweep}); (err != nil) != c.left {
			t.Errorf("left: %v\n%s", err, b.String())
		}
	}
}

//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/audit"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// TestASoakIsSurvived runs the whole thing, briefly: something of each kind is broken
// nevertheless.
func TestASoakIsSurvived(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "soaked")
	p := clitest.Start(t, nil, "soak", "--duration", "8s", "--seed", "9", "--clients", "6", "--json", "--keep", dir)
	select {
	case <-p.Ended:
	case <-time.After(verdict.SettleBound + 4*clitest.Patience): // it stops by itself; what it started dies with it
		t.Fatalf("it does not end: %s", p.Stderr)
	}
	var v verdict.Verdict
	if err := json.Unmarshal([]byte(p.Stdout.String()), &v); err != nil {
		t.Fatalf("exit code %d, %v: %s", p.Exit(), err, p.Stdout)
	}
	if code := p.Exit(); code != cli.ExitOK || !v.OK {
		t.Errorf("exit code %d: %s", code, v.Table())
	}
	for _, name := range []string{
		"leases_issued", "keys_found_to_work", "aws_calls", "secret_keys_searched_for", "events_told",
		verdict.FigureName(verdict.BrokersKilled), verdict.FigureName(verdict.NodesKilled),
	} {
		if v.Count(name) == 0 {
			t.Errorf("the figure %s is 0: %s", name, v.Table())
		}
	}
	if p.Stderr.String() != "" {
		t.Errorf("in a pipe it says %q", p.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "broker1.log")); err != nil {
		t.Error(err)
	}
}

func TestTheVerdictOfASoak(t *testing.T) {
	t.Parallel()
	tally := verdict.NewTally()
	tally.Add("leases issued", 2)
	tally.Lost("requesters that died after asking")
	tally.Broke(verdict.BrokersKilled, 3)
	tally.Broke(verdict.AwsFaults, 12)
	tally.Told("alice k", "AKIA1", "alice.hard.01")
	tally.Told("alice k", "AKIA1", "alice.hard.01")
	tally.JudgeKeys(nil)
	if v := tally.Verdict(7, time.Minute); !v.OK || v.Count("leases_issued") != 2 || v.Count("two_keys") != 0 {
		t.Errorf("a good verdict: %+v", v)
	}
	tally.Told("alice k", "AKIA2", "alice.hard.01")
	tally.Told("bob k", "AKIA3", "bob.hard.01")
	tally.Told("bob k", "AKIA4", "bob.hard.01")
	tally.JudgeKeys(map[string]bool{"bob.hard.01": true})
	v := tally.Verdict(7, time.Minute)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var read verdict.Verdict
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if read.OK || read.Count("two_keys") != 1 || len(read.Violations) != 1 || read.Violations[0].Kind != "two_keys" || read.Table() != v.Table() {
		t.Errorf("a bad verdict: %s", data)
	}
	for _, line := range []string{
		"        2  leases issued\n", "        1  requesters that died after asking\n",
		"        1  idempotency keys with two access keys\n", "AKIA1 and AKIA2", "verdict: BAD (seed 7, 1m0s: 3 brokers and 0 NATS servers killed, 12% of the AWS calls disturbed)\n",
	} {
		if !strings.Contains(read.Table(), line) {
			t.Errorf("the table does not say %q: %s", line, read.Table())
		}
	}
}

// TestEveryViolationIsCounted makes sure that no kind is told that the verdict
// does not have: it would be lost.
func TestEveryViolationIsCounted(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("soak*.go")
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			text += string(data)
		}
	}
	known := map[string]bool{}
	for _, f := range verdict.MustBeZero {
		known[f.Name] = true
		if strings.Count(text, `"`+f.Name+`"`) < 2 {
			t.Errorf("nobody counts %s", f.Name)
		}
	}
	for _, call := range []string{`violated("`, `strike("`} {
		for _, rest := range strings.Split(text, call)[1:] {
			if kind, _, _ := strings.Cut(rest, `"`); !known[kind] {
				t.Errorf("the verdict does not have %q", kind)
			}
		}
	}
}

//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestASoakIsSurvived runs the whole thing, briefly: something of each kind is broken
// nevertheless.
func TestASoakIsSurvived(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "soaked")
	p := start(t, nil, "soak", "--duration", "8s", "--seed", "9", "--clients", "6", "--json", "--keep", dir)
	select {
	case <-p.ended:
	case <-time.After(settleBound + 4*patience): // it stops by itself; what it started dies with it
		t.Fatalf("it does not end: %s", p.stderr)
	}
	var v soakVerdict
	if err := json.Unmarshal([]byte(p.stdout.String()), &v); err != nil {
		t.Fatalf("exit code %d, %v: %s", p.exit(), err, p.stdout)
	}
	if code := p.exit(); code != exitOK || !v.OK {
		t.Errorf("exit code %d: %s", code, v.table())
	}
	for _, name := range []string{
		"leases_issued", "keys_found_to_work", "aws_calls", "secret_keys_searched_for", "events_told",
		figureName(brokersKilled), figureName(nodesKilled),
	} {
		if v.count(name) == 0 {
			t.Errorf("the figure %s is 0: %s", name, v.table())
		}
	}
	if p.stderr.String() != "" {
		t.Errorf("in a pipe it says %q", p.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "broker1.log")); err != nil {
		t.Error(err)
	}
}

func TestTheVerdictOfASoak(t *testing.T) {
	t.Parallel()
	tally := newSoakTally()
	tally.add("leases issued", 2)
	tally.lost("requesters that died after asking")
	tally.broke(brokersKilled, 3)
	tally.broke(awsFaults, 12)
	tally.told("alice k", "AKIA1", "alice.hard.01")
	tally.told("alice k", "AKIA1", "alice.hard.01")
	tally.judgeKeys(nil)
	if v := tally.verdict(7, time.Minute); !v.OK || v.count("leases_issued") != 2 || v.count("two_keys") != 0 {
		t.Errorf("a good verdict: %+v", v)
	}
	tally.told("alice k", "AKIA2", "alice.hard.01")
	tally.told("bob k", "AKIA3", "bob.hard.01")
	tally.told("bob k", "AKIA4", "bob.hard.01")
	tally.judgeKeys(map[string]bool{"bob.hard.01": true})
	v := tally.verdict(7, time.Minute)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var read soakVerdict
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if read.OK || read.count("two_keys") != 1 || len(read.Violations) != 1 || read.Violations[0].Kind != "two_keys" || read.table() != v.table() {
		t.Errorf("a bad verdict: %s", data)
	}
	for _, line := range []string{
		"        2  leases issued\n", "        1  requesters that died after asking\n",
		"        1  idempotency keys with two access keys\n", "AKIA1 and AKIA2", "verdict: BAD (seed 7, 1m0s: 3 brokers and 0 NATS servers killed, 12% of the AWS calls disturbed)\n",
	} {
		if !strings.Contains(read.table(), line) {
			t.Errorf("the table does not say %q: %s", line, read.table())
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
	for _, f := range mustBeZero {
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

func TestASoakSearchFinds(t *testing.T) {
	t.Parallel()
	const secret, other = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "aJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	s := newSoakSearch([]string{secret})
	for _, form := range soakDisguises(secret) {
		if found := s.find([]byte("before " + form + " after")); !found[secret] || !foundIn([]byte(form), secret) {
			t.Errorf("%s is not found", form)
		}
		if found := s.find([]byte(form[:len(form)-2])); len(found) != 0 {
			t.Errorf("half of %s is found", form)
		}
	}
	if found := s.find([]byte(other)); len(found) != 0 {
		t.Error("another secret is found")
	}
}

func TestTheClockOfABroker(t *testing.T) {
	t.Parallel()
	for skew, want := range map[string]time.Duration{"": 0, "1h": time.Hour, "-1h": -time.Hour} {
		now, err := brokerClock(&environment{Getenv: func(string) string { return skew }})
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Until(now()) - want; off.Abs() > time.Minute {
			t.Errorf("%q: off by %s", skew, off)
		}
	}
	if _, err := brokerClock(&environment{Getenv: func(string) string { return "soon" }}); err == nil {
		t.Error("soon is no skew")
	}
}

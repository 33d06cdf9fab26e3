//go:build unix

package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// TestShortSoakHasAGoodVerdict runs the program for some seconds. A broker and a NATS
// server must have been killed.
func TestShortSoakHasAGoodVerdict(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "soaked")
	p := clitest.Start(t, nil, "--duration", "8s", "--seed", "9", "--clients", "6", "--json", "--keep", dir)
	select {
	case <-p.Ended:
	case <-time.After(verdict.SettleBound + 4*clitest.Patience): // its child processes end with it
		t.Fatalf("the soak test does not end: %s", p.Stderr)
	}
	var v verdict.Verdict
	if err := json.Unmarshal([]byte(p.Stdout.String()), &v); err != nil {
		t.Fatalf("exit code %d, %v: %s", p.Exit(), err, p.Stdout)
	}
	if code := p.Exit(); code != cli.ExitOK || !v.OK {
		t.Errorf("exit code %d: %s", code, v.Table())
	}
	for _, name := range []string{
		"leases_issued", "keys_found_to_work", "aws_calls", "secret_keys_searched_for", "events_read",
		verdict.FigureName(verdict.BrokersKilled), verdict.FigureName(verdict.NodesKilled),
	} {
		if v.Count(name) == 0 {
			t.Errorf("the figure %s is 0: %s", name, v.Table())
		}
	}
	if p.Stderr.String() != "" {
		t.Errorf("standard error is no terminal and has %q", p.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "broker1.log")); err != nil {
		t.Error(err)
	}
}

// TestEachViolationIsLookedForAndTested searches the sources: code must report each kind
// of violation, and a test must check that it does.
func TestEachViolationIsLookedForAndTested(t *testing.T) {
	t.Parallel()
	var code, tests strings.Builder
	err := filepath.WalkDir("internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.HasSuffix(path, "_test.go") {
			tests.Write(data)
		} else {
			code.Write(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`(?m)^\t(\w+) +Kind = "`).FindAllStringSubmatch(code.String(), -1)
	if len(kinds) != len(verdict.MustBeZero) {
		t.Errorf("there are %d kinds, and the verdict has %d", len(kinds), len(verdict.MustBeZero))
	}
	for _, k := range kinds {
		use := regexp.MustCompile(`\bverdict\.` + k[1] + `\b`)
		if !use.MatchString(code.String()) && !strings.Contains(code.String(), "Violated("+k[1]) {
			t.Errorf("%s is not looked for", k[1])
		}
		if !use.MatchString(tests.String()) {
			t.Errorf("%s is not tested", k[1])
		}
	}
}

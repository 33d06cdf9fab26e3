package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func shell() clitest.Terminal { return clitest.Terminal{Root: newRootCmd, Program: "lessor-soak"} }

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.CheckRefused(t, shell(), "", map[string]clitest.Refusal{
		"now":                           {Code: cli.ExitUsage, Says: []string{`"now"`, "lessor-soak --help"}},
		"--duration 1ms":                {Code: cli.ExitUsage, Says: []string{"--duration", "1s to 24h"}},
		"--duration long":               {Code: cli.ExitUsage, Says: []string{"--duration", "lessor-soak --help"}},
		"--clients 0":                   {Code: cli.ExitUsage, Says: []string{"--clients", "1 to 1000"}},
		"--seed -1":                     {Code: cli.ExitUsage, Says: []string{"--seed", "lessor-soak --help"}},
		"--keep " + dir:                 {Code: cli.ExitUsage, Says: []string{"--keep", dir, "another folder"}},
		"node --cluster here":           {Code: cli.ExitUsage, Says: []string{"--cluster", "host and a port"}},
		"aws --listen here --control -": {Code: cli.ExitFailed, Says: []string{"another address"}},
	})
}

// TestHelpHasExamples checks the help of every command, and the examples in it.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	clitest.CheckExamples(t, shell())
}

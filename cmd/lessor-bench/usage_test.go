package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
)

func shell() clitest.Terminal { return clitest.Terminal{Root: newRootCmd, Program: "lessor-bench"} }

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.CheckRefused(t, shell(), "", map[string]clitest.Refusal{
		"now":                 {Code: cli.ExitUsage, Says: []string{`"now"`, "lessor-bench --help"}},
		"--only speed":        {Code: cli.ExitUsage, Says: []string{"--only", `"speed"`, "latency, throughput"}},
		"--requesters 0":      {Code: cli.ExitUsage, Says: []string{"--requesters", "1 to 10000"}},
		"--leases many":       {Code: cli.ExitUsage, Says: []string{"--leases", "lessor-bench --help"}},
		"--live -1":           {Code: cli.ExitUsage, Says: []string{"--live", "1 to"}},
		"--due 0":             {Code: cli.ExitUsage, Says: []string{"--due", "1 to"}},
		"--latency 1h":        {Code: cli.ExitUsage, Says: []string{"--latency", "0s to 5s"}},
		"--within -1s":        {Code: cli.ExitUsage, Says: []string{"--within", "negative"}},
		"--rate -1":           {Code: cli.ExitUsage, Says: []string{"--rate", "negative"}},
		"--replicas 1":        {Code: cli.ExitUsage, Says: []string{"--replicas", "2 to 16"}},
		"--nodes 2":           {Code: cli.ExitUsage, Says: []string{"--nodes", "1, 3 or 5"}},
		"--iam-endpoint here": {Code: cli.ExitUsage, Says: []string{"--iam-endpoint", "http://127.0.0.1:4599"}},
		"--iam-endpoint https://iam.amazonaws.com":     {Code: cli.ExitUsage, Says: []string{"iam.amazonaws.com", "--real-aws"}},
		"--iam-endpoint http://127.0.0.1:1 --rate 5":   {Code: cli.ExitUsage, Says: []string{"--rate", "--iam-endpoint"}},
		"--iam-endpoint http://127.0.0.1:1 --only due": {Code: cli.ExitUsage, Says: []string{`"due"`, "--iam-endpoint"}},
		"--server nats://127.0.0.1:1 --only restore":   {Code: cli.ExitUsage, Says: []string{`"restore"`, "--server"}},
		"--server nats://127.0.0.1:1 --durable":        {Code: cli.ExitUsage, Says: []string{"--durable", "--server"}},
		"--server nats://127.0.0.1:1 --identity A":     {Code: cli.ExitUsage, Says: []string{"--identity", "a-z"}},
		"--server nats://127.0.0.1:1":                  {Code: cli.ExitFailed, Says: []string{"latency", "127.0.0.1:1", "--server"}},
		"--profile " + file + "/x":                     {Code: cli.ExitFailed, Says: []string{"--profile", file}},
		"--svg pictures":                               {Code: cli.ExitUsage, Says: []string{"--svg", "add --only growth"}},
		"--only due --svg pictures":                    {Code: cli.ExitUsage, Says: []string{"--svg", "add --only growth"}},
		"--sizes 10,20":                                {Code: cli.ExitUsage, Says: []string{"--sizes", "add --only growth"}},
		"--only growth --sizes 0,10":                   {Code: cli.ExitUsage, Says: []string{"--sizes", "has 0;", "1 to 5000000"}},
		"--only growth --sizes 5000001":                {Code: cli.ExitUsage, Says: []string{"--sizes", "has 5000001;", "1 to 5000000"}},
		"--only growth --sizes 20,10":                  {Code: cli.ExitUsage, Says: []string{"--sizes", "10 after 20", "more than"}},
		"--only growth --sizes 10,10":                  {Code: cli.ExitUsage, Says: []string{"--sizes", "10 after 10", "more than"}},
		"--only growth --sizes few":                    {Code: cli.ExitUsage, Says: []string{"--sizes", "few", "lessor-bench --help"}},
		"--only growth --svg " + file + "/x":           {Code: cli.ExitFailed, Says: []string{"--svg", file}},
		"--server nats://127.0.0.1:1 --only growth":    {Code: cli.ExitUsage, Says: []string{`"growth"`, "--server"}},
	})
}

// TestHelpHasExamples checks the help of every command, and the examples in it.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	clitest.CheckExamples(t, shell())
}

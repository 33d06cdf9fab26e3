package clitest

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// Refusal is what a program answers to a command line that it refuses.
type Refusal struct {
	Code int
	// Says are parts of the line that it prints: what is wrong, and what to do next.
	Says []string
}

// CheckRefused runs command lines, which must fail with one line on standard error and
// nothing on standard output. No line may contain hidden, unless it is "".
func CheckRefused(t *testing.T, x Terminal, hidden string, lines map[string]Refusal) {
	t.Helper()
	prefix := cmp.Or(x.Program, "lessor") + ": "
	for args, want := range lines {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := x.Run(t.Context(), strings.Fields(args)...)
			if code != want.Code || stdout != "" {
				t.Errorf("exit code %d, want %d; %s%s", code, want.Code, stdout, stderr)
			}
			said := strings.TrimSuffix(stderr, "\n")
			if want.Code == cli.ExitFailed { // the broker may have logged before
				said = said[strings.LastIndex(said, "\n")+1:]
			}
			if !strings.HasPrefix(said, prefix) || strings.Contains(said, "\n") || strings.Count(stderr, prefix) != 1 {
				t.Errorf("the error is not one line: %q", stderr)
			}
			for _, words := range want.Says {
				if !strings.Contains(said, words) {
					t.Errorf("no %q in: %s", words, said)
				}
			}
			if hidden != "" && strings.Contains(stderr, hidden) {
				t.Errorf("the error shows a secret: %s", stderr)
			}
		})
	}
}

// CheckExamples checks that the help of every command has an example of that command, and
// that the commands, arguments and flags in examples are right. It returns the number of
// commands.
func CheckExamples(t *testing.T, x Terminal) int {
	t.Helper()
	program := cmp.Or(x.Program, "lessor")
	root := func() *cobra.Command { return x.Root(cli.System(program)) }
	// A call of the program in a shell or a configuration, up to where the shell goes on.
	example := regexp.MustCompile(`(?m)(?:^|[\s(])` + program + `((?: +(?:"[^"]*"|[^\s"|;>)]+))*)`)
	word := regexp.MustCompile(`"[^"]*"|\S+`)
	all := commands(root())
	for name, c := range all {
		stdout, stderr, code := x.Run(t.Context(), append(strings.Fields(name)[1:], "--help")...)
		if code != cli.ExitOK || stderr != "" || !strings.Contains(stdout, c.Short) && !strings.Contains(stdout, c.Long) {
			t.Errorf("%s --help: exit code %d, %s", name, code, stderr)
		}
		if c.HasAvailableSubCommands() {
			continue // their helps have examples
		}
		if !strings.Contains(stdout, "Examples:\n") {
			t.Errorf("%s --help has no example", name)
		}
		own := false
		for _, call := range example.FindAllStringSubmatch(c.Example, -1) {
			target, rest, err := root().Find(word.FindAllString(call[1], -1))
			if err == nil {
				err = target.ParseFlags(rest)
			}
			if err == nil && target.Args != nil {
				err = target.Args(target, target.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: the example %q: %v", name, call[0], err)
				continue
			}
			own = own || target.CommandPath() == name
		}
		if !own {
			t.Errorf("%s: no example is of this command:\n%s", name, c.Example)
		}
	}
	return len(all)
}

// commands returns the command and all below it, by their paths.
func commands(c *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{c.CommandPath(): c}
	for _, sub := range c.Commands() {
		for name, c := range commands(sub) {
			all[name] = c
		}
	}
	return all
}

package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs a program in this process and exits. SIGINT and SIGTERM end the context of the
// command; a second signal ends the process at once.
func Main(program string, newRoot func(*Environment) *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	env := System(program)
	code := Run(ctx, env, newRoot(env), os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs a program's root command with these arguments and returns the exit code. It
// writes the error, if there is one, to standard error on one line.
func Run(ctx context.Context, env *Environment, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		env.Note("%s", err)
		return ExitUsage
	}
	env.Note("%s", explain(err))
	return ExitFailed
}

// NewRoot makes a command a program's root command.
func NewRoot(env *Environment, root *cobra.Command) *cobra.Command {
	root.Version = Version()
	root.SilenceErrors = true // Run prints them
	root.SilenceUsage = true
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usagef(`%w; see "%s --help"`, err, cmd.CommandPath())
	})
	return root
}

// Version returns the version of the module that the program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

// Argument requires exactly one argument, which errors call name.
func Argument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Usagef(`%s takes one %s, not %d; see "%s --help"`, cmd.Name(), name, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// OptionalArgument requires at most one argument, which errors call name.
func OptionalArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return Usagef(`%s takes one %s, not %d; see "%s --help"`, cmd.Name(), name, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// NoArguments requires that there are no arguments.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef(`%s takes no arguments; %q is one; see "%s --help"`, cmd.Name(), args[0], cmd.CommandPath())
	}
	return nil
}

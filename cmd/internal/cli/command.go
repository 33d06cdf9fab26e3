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

// Main runs a program as the process that it is, and exits.
func Main(program string, newRoot func(*Environment) *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	env := System(program)
	code := Run(ctx, env, newRoot(env), os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs a program's root command and returns the exit code.
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

// NewRoot returns a program's root command without subcommands.
func NewRoot(env *Environment, root *cobra.Command) *cobra.Command {
	root.Version = Version()
	root.SilenceErrors = true // Run prints them, on one line
	root.SilenceUsage = true
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usagef(`%w; see "%s --help"`, err, cmd.CommandPath())
	})
	return root
}

// Version is the module's version that the program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

// Argument demands exactly one argument and names it.
func Argument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Usagef(`%s takes one %s, and got %d; see "%s --help"`, cmd.Name(), name, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// NoArguments demands that there are none.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef(`%s takes no argument, and got %q; see "%s --help"`, cmd.Name(), args[0], cmd.CommandPath())
	}
	return nil
}

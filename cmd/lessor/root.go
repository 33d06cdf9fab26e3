package main

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// The groups of commands.
const (
	tryouts    = "tryouts"    // for those who have just come
	requesters = "requesters" // for those who ask for leases
	operators  = "operators"  // for those who run a broker
)

// run runs the program and returns its exit code.
func run(ctx context.Context, env *environment, args []string) int {
	root := newRootCmd(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		env.note("%s", err)
		return exitUsage
	}
	env.note("%s", explain(err))
	return exitFailed
}

func newRootCmd(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:     "lessor",
		Version: version(),
		Short:   "Lease AWS IAM users over NATS",
		Long: `lessor leases AWS IAM users over NATS. Ask for a lease and get an access key;
the key dies when the lease ends, and nothing is left behind in AWS.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef(`there is no command %q; see "lessor --help"`, args[0])
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // run shows them, in one line
		SilenceUsage:  true,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef(`%w; see "%s --help"`, err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: tryouts, Title: "To see it work:"},
		&cobra.Group{ID: requesters, Title: "For those who need a key:"},
		&cobra.Group{ID: operators, Title: "For those who run a broker:"},
	)
	root.AddCommand(
		newDemoCmd(env), newDevCmd(env), newSoakCmd(env), newBenchCmd(env), newServeCmd(env), newKeyCmd(env), newNATSConfigCmd(env), newSweepCmd(env), newRetryCmd(env), newRestoreCmd(env),
		newSecretCmd(env), newPolicyCmd(env),
		newRequestCmd(env), newRenewCmd(env), newRevokeCmd(env),
		newListCmd(env), newShowCmd(env), newEventsCmd(env), newAuditCmd(env),
	)
	return root
}

// version is the module's version that the program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

// argument demands exactly one argument and names it.
func argument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef(`%s takes one %s, and got %d; see "%s --help"`, cmd.Name(), name, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// noArguments demands that there are none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(`%s takes no argument, and got %q; see "%s --help"`, cmd.Name(), args[0], cmd.CommandPath())
	}
	return nil
}

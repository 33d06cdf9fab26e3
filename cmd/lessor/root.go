package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// The groups of commands.
const (
	tryouts    = "tryouts"    // for those who have just come
	requesters = "requesters" // for those who ask for leases
	operators  = "operators"  // for those who run a broker
)

// run runs the program and returns its exit code.
func run(ctx context.Context, env *cli.Environment, args []string) int {
	return cli.Run(ctx, env, newRootCmd(env), args)
}

func newRootCmd(env *cli.Environment) *cobra.Command {
	root := cli.NewRoot(env, &cobra.Command{
		Use:   "lessor",
		Short: "Lease AWS IAM users over NATS",
		Long: `lessor leases AWS IAM users over NATS. Ask for a lease and get an access key;
the key dies when the lease ends, and nothing is left behind in AWS.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef(`there is no command %q; see "lessor --help"`, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	root.AddGroup(
		&cobra.Group{ID: tryouts, Title: "To see it work:"},
		&cobra.Group{ID: requesters, Title: "For those who need a key:"},
		&cobra.Group{ID: operators, Title: "For those who run a broker:"},
	)
	root.AddCommand(
		newDemoCmd(env), newDevCmd(env), newServeCmd(env), newKeyCmd(env), newNATSConfigCmd(env), newSweepCmd(env), newRetryCmd(env), newRestoreCmd(env),
		newSecretCmd(env), newPolicyCmd(env),
		newRequestCmd(env), newRenewCmd(env), newRevokeCmd(env),
		newListCmd(env), newShowCmd(env), newEventsCmd(env), newAuditCmd(env),
	)
	return root
}

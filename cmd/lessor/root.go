package main

import (
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// The groups of commands.
const (
	tryouts    = "tryouts"
	requesters = "requesters"
	operators  = "operators"
)

// newRootCmd returns the program with all its commands.
func newRootCmd(env *cli.Environment) *cobra.Command {
	root := cli.NewRoot(env, &cobra.Command{
		Use:   "lessor",
		Short: "Lease AWS IAM users over NATS",
		Long: `lessor leases AWS IAM users over NATS. A request for a lease is answered with an access
key. When the lease ends, the key and its IAM user are deleted.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef(`there is no command %q; see "lessor --help"`, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	root.AddGroup(
		&cobra.Group{ID: tryouts, Title: "To try it out:"},
		&cobra.Group{ID: requesters, Title: "For requesters:"},
		&cobra.Group{ID: operators, Title: "For operators:"},
	)
	root.AddCommand(
		newDemoCmd(env), newDevCmd(env), newServeCmd(env), newKeyCmd(env), newNATSConfigCmd(env), newSweepCmd(env), newRetryCmd(env), newRestoreCmd(env),
		newSecretCmd(env), newPolicyCmd(env),
		newRequestCmd(env), newRenewCmd(env), newRevokeCmd(env),
		newListCmd(env), newShowCmd(env), newEventsCmd(env), newAuditCmd(env),
	)
	return root
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
)

func newSecretCmd(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "secret",
		Short:   "Put, show, check and delete dynamic secrets",
		GroupID: operators,
		Long: `Put, show, check and delete dynamic secrets: the recipes of which leases are made.

They are kept by the broker. A secret that comes from a file in its --secrets folder
is changed there, and not with these commands. The connection to NATS must be to the
broker's own account, or to an operator's, with --operator.`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newSecretPutCmd(env), newSecretGetCmd(env), newSecretListCmd(env),
		newSecretDeleteCmd(env), newSecretCheckCmd(env), newSecretRotateKeyCmd(env),
	)
	return cmd
}

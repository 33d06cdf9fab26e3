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
		Long: `Put, show, check and delete dynamic secrets: the definitions of the IAM users that are
leased.

The broker stores them. A secret that comes from a file in the broker's --secrets folder
is changed there, not with these commands. The connection must be to the broker's own
NATS account, or to an operator's account with --operator.`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newSecretPutCmd(env), newSecretGetCmd(env), newSecretListCmd(env),
		newSecretDeleteCmd(env), newSecretCheckCmd(env), newSecretRotateKeyCmd(env),
	)
	return cmd
}

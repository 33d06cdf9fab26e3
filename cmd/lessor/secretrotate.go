package main

import (
	"context"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretRotateKeyCmd(env *cli.Environment) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "rotate-key NAME",
		Short: "Rotate the broker's own access key",
		Long: `Make the broker create a new access key for itself, if the dynamic secret's method is
access_key, and delete the old key when AWS accepts the new one. The new secret access
key is never shown. All dynamic secrets and leases of the same connection use it.`,
		Example: "  lessor secret rotate-key ci",
		Args:    cli.Argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkNamed(env, args[0]); err != nil {
				return err
			}
			s, err := fetch(cmd.Context(), &o, env, "waiting for AWS to accept the new key", func(ctx context.Context, a *client.Admin) (messages.SecretInfo, error) {
				return a.RotateKey(ctx, args[0])
			})
			if err != nil {
				return err
			}
			return o.printRotated(env, s)
		},
	}
	o.registerSlow(cmd)
	return cmd
}

// printRotated prints the new key's id.
func (o *operator) printRotated(env *cli.Environment, s messages.SecretInfo) error {
	if o.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindSecret, Secret: &s})
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	cli.Row(t, "secret", s.Name)
	cli.Row(t, "connection", s.Connection.Name)
	cli.Row(t, "account", s.Connection.Account)
	cli.Row(t, "access key id", s.Connection.AccessKeyID)
	cli.Row(t, "rotated", cli.Until(s.Connection.RotatedAt, env.Now()))
	printNotes(t, s.Notes)
	return t.Flush()
}

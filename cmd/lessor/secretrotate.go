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
		Short: "Give the broker a new access key of its own",
		Long: `Have the broker make itself a new access key, where the dynamic secret's method is
access_key, and delete the old one when AWS accepts the new. Nobody sees the new
secret access key. Every dynamic secret and every lease on the same connection goes
on with it.`,
		Example: "  lessor secret rotate-key ci",
		Args:    cli.Argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkNamed(env, args[0]); err != nil {
				return err
			}
			var s messages.SecretInfo
			err := o.ask(cmd.Context(), env, "waiting for AWS to accept the new key", func(ctx context.Context, a *client.Admin) (err error) {
				s, err = a.RotateKey(ctx, args[0])
				return err
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

package main

import (
	"context"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretRotateKeyCmd(env *environment) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "rotate-key NAME",
		Short: "Give the broker a new access key of its own",
		Long: `Have the broker make itself a new access key, where the dynamic secret's method is
access_key, and delete the old one when AWS accepts the new. Nobody sees the new
secret access key. Every dynamic secret and every lease on the same connection goes
on with it.`,
		Example: "  lessor secret rotate-key ci",
		Args:    argument("NAME"),
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

func (o *operator) printRotated(env *environment, s messages.SecretInfo) error {
	if o.json {
		return writeReply(env.Stdout, messages.Reply{Kind: messages.KindSecret, Secret: &s})
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	row(t, "secret", s.Name)
	row(t, "connection", s.Connection.Name)
	row(t, "account", s.Connection.Account)
	row(t, "access key id", s.Connection.AccessKeyID)
	row(t, "rotated", until(s.Connection.RotatedAt, env.Now()))
	printNotes(t, s.Notes)
	return t.Flush()
}

package main

import (
	"context"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newRevokeCmd(env *cli.Environment) *cobra.Command {
	var r requester
	var reason string
	var force bool
	cmd := &cobra.Command{
		Use:   "revoke LEASE",
		Short: "Revoke a lease",
		Long: `Revoke a lease, named <identity>.<secret>.<id>: its access key and its IAM user are
deleted. The command returns when access has ended. If it stops waiting before that,
the broker continues. It is not an error if the lease has ended already.`,
		Example: `  lessor revoke alice.ci.06ct3v…
  lessor revoke alice.ci.06ct3v… --reason "job 1234 finished"

  # for operators: give up a lease that can't be revoked; the sweep removes its user
  lessor revoke alice.ci.06ct3v… --force --reason "the account is closed"`,
		Args: cli.Argument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := utf8.RuneCountInString(reason); n > messages.MaxReason {
				return cli.Usagef("--reason has %d characters; the limit is %d", n, messages.MaxReason)
			}
			if force {
				return r.giveUp(cmd.Context(), env, args[0], reason)
			}
			return r.withLease(env, args[0], messages.KindRevoked, func(c *client.Client) (messages.Lease, error) {
				return c.Revoke(cmd.Context(), args[0], reason)
			})
		},
	}
	r.registerOwner(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "for operators: give up a lease that could not be revoked; the sweep continues to look for its user")
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to store with the lease and show in its events")
	return cmd
}

// giveUp gives up a lease that could not be revoked, as an operator.
func (r *requester) giveUp(ctx context.Context, env *cli.Environment, lease, reason string) error {
	if _, err := messages.ParseLeaseName(lease); err != nil {
		return cli.FlagError("LEASE", err)
	}
	o := operator{Connection: r.Connection, json: r.json}
	if err := o.Check(env); err != nil {
		return err
	}
	l, err := fetch(ctx, &o, env, "", func(ctx context.Context, a *client.Admin) (messages.Lease, error) {
		return a.GiveUpLease(ctx, lease, reason)
	})
	if err != nil {
		return err
	}
	return r.printLease(env, messages.KindRevoked, l)
}

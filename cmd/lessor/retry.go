package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newRetryCmd(env *cli.Environment) *cobra.Command {
	var o operator
	var order messages.LeaseCommand
	cmd := &cobra.Command{
		Use:     "retry [LEASE]",
		Short:   "Try again now to revoke what could not be revoked",
		GroupID: operators,
		Long: `Have the broker try again now to revoke the leases that could not be revoked: one, an
identity's, a secret's, or all. It does so by itself, at growing intervals up to an
hour; this is for when you have just mended what was in the way.`,
		Example: `  lessor list --failed
  lessor retry
  lessor retry --secret ci`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Usagef(`retry takes one LEASE, and got %d; see "%s --help"`, len(args), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				order.Lease = args[0]
			}
			if err := checkOrder(messages.AdminLeaseRetry, order); err != nil {
				return err
			}
			if err := o.Check(env); err != nil {
				return err
			}
			var n int
			err := o.ask(cmd.Context(), env, "", func(ctx context.Context, a *client.Admin) (err error) {
				n, err = a.RetryLeases(ctx, order)
				return err
			})
			if err != nil {
				return err
			}
			return o.printOrdered(env, n)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&order.Identity, "identity", "", "only this `identity`'s leases")
	cmd.Flags().StringVar(&order.Secret, "secret", "", "only leases of this `secret`")
	return cmd
}

// checkOrder refuses what the broker would.
func checkOrder(v messages.AdminVerb, order messages.LeaseCommand) error {
	if err := order.Check(v); err != nil {
		return cli.Usagef("%s", messages.AsError(err).Message)
	}
	return nil
}

func (o *operator) printOrdered(env *cli.Environment, n int) error {
	if o.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindAccepted, Accepted: &messages.Accepted{Leases: n}})
	}
	what := "leases are"
	if n == 1 {
		what = "lease is"
	}
	_, err := fmt.Fprintf(env.Stdout, "%d %s tried again\n", n, what)
	return err
}

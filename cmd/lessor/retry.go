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
	var command messages.LeaseCommand
	cmd := &cobra.Command{
		Use:     "retry [LEASE]",
		Short:   "Retry failed revocations now",
		GroupID: operators,
		Long: `Make the broker retry now to revoke the leases whose revocation failed: one lease, those of
an identity or a secret, or all. The broker retries by itself, at intervals that grow
up to an hour; use this command after you have removed the cause.`,
		Example: `  lessor list --failed
  lessor retry
  lessor retry --secret ci`,
		Args: cli.OptionalArgument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				command.Lease = args[0]
			}
			if err := checkCommand(messages.AdminLeaseRetry, command); err != nil {
				return err
			}
			if err := o.Check(env); err != nil {
				return err
			}
			n, err := fetch(cmd.Context(), &o, env, "", func(ctx context.Context, a *client.Admin) (int, error) {
				return a.RetryLeases(ctx, command)
			})
			if err != nil {
				return err
			}
			return o.printRetried(env, n)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&command.Identity, "identity", "", "only this `identity`'s leases")
	cmd.Flags().StringVar(&command.Secret, "secret", "", "only leases of this `secret`")
	return cmd
}

// checkCommand returns a usage error for a command that the broker would refuse.
func checkCommand(v messages.AdminVerb, command messages.LeaseCommand) error {
	if err := command.Check(v); err != nil {
		return cli.Usagef("%s", messages.AsError(err).Message)
	}
	return nil
}

// printRetried prints the number of leases that are retried.
func (o *operator) printRetried(env *cli.Environment, n int) error {
	if o.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindAccepted, Accepted: &messages.Accepted{Leases: n}})
	}
	what := "leases are"
	if n == 1 {
		what = "lease is"
	}
	_, err := fmt.Fprintf(env.Stdout, "%d %s retried\n", n, what)
	return err
}

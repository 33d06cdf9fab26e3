package main

import (
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newRenewCmd(env *cli.Environment) *cobra.Command {
	var r requester
	var renew messages.RenewRequest
	cmd := &cobra.Command{
		Use:   "renew LEASE",
		Short: "Move the end of a lease",
		Long: `Move the end of a lease, named <identity>.<secret>.<id>, to --ttl from now. The end
never becomes earlier. It can't be later than the secret's max_ttl after the lease
was issued: that is an error, or with --clamp the end is the latest possible.`,
		Example: `  lessor renew alice.ci.06ct3v… --ttl 1h
  lessor renew alice.ci.06ct3v… --ttl 8h --clamp`,
		Args: cli.Argument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.withLease(env, args[0], messages.KindRenewed, func(c *client.Client) (messages.Lease, error) {
				return c.Renew(cmd.Context(), args[0], renew)
			})
		},
	}
	r.registerOwner(cmd)
	durationFlag(cmd, &renew.TTL, "ttl", "how long the lease lasts from now, such as 15m, 1h (default: the secret's)")
	cmd.Flags().BoolVar(&renew.Clamp, "clamp", false, "use the latest possible end if --ttl is longer")
	return cmd
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newShowCmd(env *cli.Environment) *cobra.Command {
	var r requester
	cmd := &cobra.Command{
		Use:   "show LEASE",
		Short: "Show a lease",
		Long: `Show a lease, named <identity>.<secret>.<id>. Its secret access key is not shown: it is
only in the delivery. Leases that have ended are known for 24 hours.`,
		Example: `  lessor show alice.ci.06ct3v…
  lessor show alice.ci.06ct3v… --json | jq -r .lease.state`,
		Args: cli.Argument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.withLease(env, args[0], messages.KindLease, func(c *client.Client) (messages.Lease, error) {
				return c.Get(cmd.Context(), args[0])
			})
		},
	}
	r.registerOwner(cmd)
	return cmd
}

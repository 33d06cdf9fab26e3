package main

import (
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newRevokeCmd(env *environment) *cobra.Command {
	var r requester
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke LEASE",
		Short: "End a lease now",
		Long: `End a lease, named <identity>.<secret>.<id>: its access key and its IAM user are
deleted. The command returns when that is done. Where it stops waiting before, the
broker goes on. A lease that has ended already is no error.`,
		Example: `  lessor revoke alice.ci.06ct3v…
  lessor revoke alice.ci.06ct3v… --reason "job 1234 finished"`,
		Args: argument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := utf8.RuneCountInString(reason); n > messages.MaxReason {
				return usagef("--reason has %d characters; the limit is %d", n, messages.MaxReason)
			}
			return r.withLease(env, args[0], messages.KindRevoked, func(c *client.Client) (messages.Lease, error) {
				return c.Revoke(cmd.Context(), args[0], reason)
			})
		},
	}
	r.registerOwner(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep with the lease and show in its events")
	return cmd
}

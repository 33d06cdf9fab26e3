package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSweepCmd(env *cli.Environment) *cobra.Command {
	var o operator
	var apply bool
	cmd := &cobra.Command{
		Use:     "sweep",
		Short:   "Find and remove orphaned IAM users",
		GroupID: operators,
		Long: `Compare the IAM users of this installation with the leases, in every AWS account that has
had leases, and remove the orphans: users without a lease. The brokers do that every
hour.

If an account has more than ten orphans, or the restore guard is active ("lessor
restore"), orphans are only shown: they may be users that were created after a backup
of the lease bucket. --apply removes them. The command exits with 1 if users are left.`,
		Example: `  lessor sweep
  lessor sweep --apply`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(env); err != nil {
				return err
			}
			sweeps, err := fetch(cmd.Context(), &o, env, "comparing AWS with the leases", func(ctx context.Context, a *client.Admin) ([]messages.Sweep, error) {
				return a.Sweep(ctx, apply)
			})
			if err != nil {
				return err
			}
			if o.json {
				return cmp.Or(cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindSweep, Sweeps: sweeps}), leftover(sweeps))
			}
			return cmp.Or(printSweeps(env.Stdout, sweeps), leftover(sweeps))
		},
	}
	o.registerSlow(cmd)
	cmd.Flags().BoolVar(&apply, "apply", false, "remove orphans also if there are many or the restore guard is active")
	return cmd
}

// printSweeps prints the sweep of each connection, and the orphans.
func printSweeps(w io.Writer, sweeps []messages.Sweep) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "CONNECTION\tACCOUNT\tUSERS\tORPHANS\tRESULT") // errors come with Flush
	for _, s := range sweeps {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", s.Connection, cli.OrDash(s.Account), s.Users, len(s.Orphans), swept(s))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range sweeps {
		for _, x := range s.Orphans {
			result := "not removed"
			switch {
			case x.Removed:
				result = "removed"
			case x.Error != "":
				result = cli.OneLine(x.Error)
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Username, cli.OrDash(x.Lease), x.CreatedAt.UTC().Format("2006-01-02 15:04"), result)
		}
	}
	return t.Flush()
}

// swept returns the result of a sweep.
func swept(s messages.Sweep) string {
	switch {
	case s.Error != "":
		return cli.OneLine(s.Error)
	case s.AwaitsConsent:
		return "not removed: there are many, or the restore guard is active (lessor restore); check the users, and remove them with --apply"
	}
	return "ok"
}

// leftover returns an error if users are left or a sweep failed.
func leftover(sweeps []messages.Sweep) error {
	for _, s := range sweeps {
		if s.Error != "" || s.AwaitsConsent {
			return errors.New("not all orphans are removed")
		}
		for _, x := range s.Orphans {
			if !x.Removed {
				return errors.New("not all orphans are removed")
			}
		}
	}
	return nil
}

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
		Short:   "Find IAM users that no lease knows, and remove them",
		GroupID: operators,
		Long: `Compare the IAM users of this installation with the leases, in every AWS account that
leases have been in, and remove the users that no lease knows. The brokers do that by
themselves every hour.

More than ten at once in an account are suspicious: a lease bucket that was restored
from a backup does not know the users that were made since; one that is known to be
restored ("lessor restore") makes every such user suspicious. They are shown, and
removed only with --apply. The command exits with 1 where users are left.`,
		Example: `  lessor sweep
  lessor sweep --apply`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(env); err != nil {
				return err
			}
			var sweeps []messages.Sweep
			err := o.ask(cmd.Context(), env, "comparing AWS with the leases", func(ctx context.Context, a *client.Admin) (err error) {
				sweeps, err = a.Sweep(ctx, apply)
				return err
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
	cmd.Flags().BoolVar(&apply, "apply", false, "remove them also where they are suspiciously many")
	return cmd
}

func printSweeps(w io.Writer, sweeps []messages.Sweep) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "CONNECTION\tACCOUNT\tUSERS\tUNKNOWN\tRESULT") // errors come with Flush
	for _, s := range sweeps {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", s.Connection, cli.OrDash(s.Account), s.Users, len(s.Orphans), swept(s))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range sweeps {
		for _, x := range s.Orphans {
			result := "left alone"
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

// swept is what came of a sweep.
func swept(s messages.Sweep) string {
	switch {
	case s.Error != "":
		return cli.OneLine(s.Error)
	case s.AwaitsConsent:
		return "left alone: suspiciously many, or the lease bucket was restored (lessor restore); see whether they are nobody's, and remove them with --apply"
	}
	return "ok"
}

// leftover is an error where users are left, or where it is not known.
func leftover(sweeps []messages.Sweep) error {
	for _, s := range sweeps {
		if s.Error != "" || s.AwaitsConsent {
			return errors.New("not everything is swept")
		}
		for _, x := range s.Orphans {
			if !x.Removed {
				return errors.New("not everything is swept")
			}
		}
	}
	return nil
}

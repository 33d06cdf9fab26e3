package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newRestoreCmd(env *cli.Environment) *cobra.Command {
	var o operator
	var apply bool
	cmd := &cobra.Command{
		Use:     "restore",
		Short:   "Show and lift the restore guard",
		GroupID: operators,
		Long: `After the lease bucket was restored from a backup, the restore guard is active: leases
that have expired by the backup may have been renewed since, and users without a lease
in the backup may be in use. Until this command is run with --apply, no lease from the
backup expires and no user is swept. New leases, renewals and revocations work.

Without --apply, show what would be removed. With --apply, leases with an event about a
later end get that end, the other expired leases end, and all orphaned users are
removed. The command exits with 1 while the guard is active.`,
		Example: `  lessor restore
  lessor restore --apply`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(env); err != nil {
				return err
			}
			r, err := fetch(cmd.Context(), &o, env, "comparing the backup with AWS", func(ctx context.Context, a *client.Admin) (messages.Restore, error) {
				return a.Restore(ctx, apply)
			})
			if err != nil {
				return err
			}
			var left error
			if r.Guarded {
				left = errors.New("the restore guard is active; lift it with --apply")
			} else {
				left = leftover(r.Sweeps)
			}
			if o.json {
				return cmp.Or(cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindRestore, Restore: &r}), left)
			}
			return cmp.Or(printRestore(env.Stdout, r, env.Now()), left)
		},
	}
	o.registerSlow(cmd)
	cmd.Flags().BoolVar(&apply, "apply", false, "lift the guard: let leases expire, and remove orphaned users")
	return cmd
}

// printRestore prints the state of the guard, the leases and the orphans.
func printRestore(w io.Writer, r messages.Restore, now time.Time) error {
	switch {
	case !r.Guarded && !r.Applied:
		_, err := fmt.Fprintln(w, "the restore guard is not active")
		return err
	case r.Guarded:
		_, _ = fmt.Fprintf(w, "the restore guard is active since %s: %s\n", cli.Until(r.Since, now), cli.OneLine(r.Why)) // the last write returns the error
	default:
		_, _ = fmt.Fprintln(w, "the restore guard is lifted")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "\n%d leases have expired by their records\n", r.Due)
	for _, l := range r.Leases {
		end := "ends"
		if !l.RenewedUntil.IsZero() {
			end = "renewed by an event until " + cli.Until(l.RenewedUntil, now)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Name, l.Username, cli.Until(l.ExpiresAt, now), end)
	}
	_, _ = fmt.Fprintf(t, "\n%d users are orphaned\n", r.Orphans)
	if err := t.Flush(); err != nil {
		return err
	}
	return printSweeps(w, r.Sweeps)
}

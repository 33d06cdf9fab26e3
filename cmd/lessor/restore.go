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
		Short:   "See what a lease bucket restored from a backup would end, and let it",
		GroupID: operators,
		Long: `A lease bucket that was restored from a backup is held: leases that are over by what
it says may have been renewed since, and users that it does not know may be in use.
No lease that it has from the backup expires, and no user is swept, until this command
is given with --apply. New leases, renewals and revocations work meanwhile.

Without --apply, show what would go. With it, leases of which an event tells a later
end get that, the others end, and users that no lease knows are removed, however many.
The command exits with 1 while the bucket is held.`,
		Example: `  lessor restore
  lessor restore --apply`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(env); err != nil {
				return err
			}
			var r messages.Restore
			err := o.ask(cmd.Context(), env, "comparing the backup with AWS", func(ctx context.Context, a *client.Admin) (err error) {
				r, err = a.Restore(ctx, apply)
				return err
			})
			if err != nil {
				return err
			}
			var left error
			if r.Guarded {
				left = errors.New("the lease bucket is held; let it go on with --apply")
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
	cmd.Flags().BoolVar(&apply, "apply", false, "let leases expire again, and remove the users that no lease knows")
	return cmd
}

func printRestore(w io.Writer, r messages.Restore, now time.Time) error {
	switch {
	case !r.Guarded && !r.Applied:
		_, err := fmt.Fprintln(w, "the lease bucket is not held")
		return err
	case r.Guarded:
		_, _ = fmt.Fprintf(w, "held since %s: %s\n", cli.Until(r.Since, now), cli.OneLine(r.Why)) // errors come with what follows
	default:
		_, _ = fmt.Fprintln(w, "not held any more")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "\n%d leases are over by their records\n", r.Due)
	for _, l := range r.Leases {
		end := "ends"
		if !l.RenewedUntil.IsZero() {
			end = "an event tells of a renewal until " + cli.Until(l.RenewedUntil, now)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Name, l.Username, cli.Until(l.ExpiresAt, now), end)
	}
	_, _ = fmt.Fprintf(t, "\n%d users are known to no lease\n", r.Orphans)
	if err := t.Flush(); err != nil {
		return err
	}
	return printSweeps(w, r.Sweeps)
}

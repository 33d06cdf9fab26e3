package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newListCmd(env *cli.Environment) *cobra.Command {
	var r requester
	var secret, in string
	var limit int
	var failed bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List an identity's leases",
		Long: `List the identity's live leases, or those in one state. Leases that have ended are
listed for 24 hours.`,
		Example: `  lessor list --identity alice
  lessor list -i alice --secret ci --state failed --json

  # for operators: leases of all identities that could not be revoked
  lessor list --failed`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return cli.Usagef("--limit is %d; it may not be negative", limit)
			}
			if failed {
				return r.listFailed(cmd.Context(), env, secret, in, limit)
			}
			if err := r.asIdentity(env); err != nil {
				return err
			}
			q := messages.ListRequest{Secret: secret, State: messages.State(in)}
			if err := checkList(q); err != nil {
				return err
			}
			c, closeClient, err := r.client(env)
			if err != nil {
				return err
			}
			defer closeClient()
			leases := []messages.Lease{}
			for l, err := range c.Leases(cmd.Context(), q) {
				if err != nil {
					return err
				}
				leases = append(leases, l)
				if len(leases) == limit {
					break
				}
			}
			return r.printLeases(env, leases)
		},
	}
	r.register(cmd)
	cmd.Flags().StringVar(&secret, "secret", "", "only leases of this `secret`")
	cmd.Flags().StringVar(&in, "state", "", "only leases in this `state`: provisioning, active, revoking, revoked or failed (default: live leases)")
	cmd.Flags().BoolVar(&failed, "failed", false, "for operators: leases that could not be revoked, and records that can't be read; of all identities unless --identity is given")
	cmd.Flags().IntVar(&limit, "limit", 0, "the most leases to list; 0: all")
	return cmd
}

// listFailed lists, as an operator, the leases whose last teardown failed, and the records
// that can't be read.
func (r *requester) listFailed(ctx context.Context, env *cli.Environment, secret, in string, limit int) error {
	if in != "" {
		return cli.Usagef("--failed and --state exclude each other")
	}
	q := messages.LeaseQuery{Identity: r.identity, Failing: true, ListRequest: messages.ListRequest{Secret: secret}}
	for _, f := range []struct{ flag, value string }{{"--identity", q.Identity}, {"--secret", q.Secret}} {
		if f.value != "" {
			if err := cli.CheckToken(f.flag, f.value); err != nil {
				return err
			}
		}
	}
	o := operator{Connection: r.Connection, json: r.json}
	if err := o.Check(env); err != nil {
		return err
	}
	leases := []messages.Lease{}
	var bad []messages.UnreadableRecord
	for first := true; ; first = false {
		var page []messages.Lease
		err := o.request(ctx, env, "", func(ctx context.Context, a *client.Admin) (err error) {
			if first {
				if bad, err = a.Unreadable(ctx, q); err != nil {
					return err
				}
			}
			page, q.After, err = a.Leases(ctx, q)
			return err
		})
		if err != nil {
			return err
		}
		leases = append(leases, page...)
		if q.After == "" || limit > 0 && len(leases) >= limit {
			break
		}
	}
	if limit > 0 {
		leases = leases[:min(limit, len(leases))]
	}
	if r.json {
		return json.NewEncoder(env.Stdout).Encode(leaseList{messages.KindLeases, leases, bad})
	}
	if len(leases) == 0 {
		env.Note("no leases could not be revoked")
	} else {
		t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "LEASE\tUSERNAME\tACCESS KEY ID\tWHY") // errors come with Flush
		for _, l := range leases {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Name, l.Username, l.AccessKeyID, cli.OneLine(l.Error.Message))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return printUnreadable(env.Stdout, bad)
}

// printUnreadable prints a table of the records that can't be read, unless there are none.
func printUnreadable(w io.Writer, bad []messages.UnreadableRecord) error {
	if len(bad) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "UNREADABLE RECORD\tREVISION\tWHY") // errors come with Flush
	for _, u := range bad {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\n", cli.OneLine(u.Key), u.Revision, cli.OneLine(u.Why))
	}
	return t.Flush()
}

// leaseList is all pages as one reply. Unlike a [messages.Reply] it has an empty list if
// there are no leases, for scripts.
type leaseList struct {
	Kind       string                      `json:"kind"`
	Leases     []messages.Lease            `json:"leases"`
	Unreadable []messages.UnreadableRecord `json:"unreadable,omitempty"`
}

// checkList returns a usage error for a filter that the broker would refuse.
func checkList(q messages.ListRequest) error {
	if q.Secret != "" {
		if err := cli.CheckToken("--secret", q.Secret); err != nil {
			return err
		}
	}
	body, err := json.Marshal(q) // #nosec G117 -- the name of a dynamic secret
	if err != nil {
		return cli.FlagError("--state", err)
	}
	if _, err := messages.DecodeListRequest(body); err != nil {
		return cli.FlagError("--state", err) // the secret is checked already
	}
	return nil
}

// printLeases prints a table, or all pages as one reply.
func (r *requester) printLeases(env *cli.Environment, leases []messages.Lease) error {
	if r.json {
		return json.NewEncoder(env.Stdout).Encode(leaseList{Kind: messages.KindLeases, Leases: leases})
	}
	if len(leases) == 0 {
		env.Note("%s has no such leases; for leases that have ended use --state revoked or --state failed", r.identity)
		return nil
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "LEASE\tSTATE\tACCESS KEY ID\tENDS\tLABELS") // errors come with Flush
	for _, l := range leases {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Name, state(l), l.AccessKeyID, end(l, env.Now()), labels(l))
	}
	return t.Flush()
}

// end returns when a lease ends or has ended.
func end(l messages.Lease, now time.Time) string {
	if l.State.Ended() {
		return cli.Until(l.EndedAt, now)
	}
	return cli.Until(l.ExpiresAt, now)
}

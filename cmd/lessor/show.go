package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newShowCmd(env *environment) *cobra.Command {
	var r requester
	cmd := &cobra.Command{
		Use:   "show LEASE",
		Short: "Show a lease",
		Long: `Show a lease, named <identity>.<secret>.<id>. Its secret access key is not shown: that
is told once, on delivery. Leases that ended are known for 24 hours.`,
		Example: `  lessor show alice.ci.06ct3v…
  lessor show alice.ci.06ct3v… --json | jq -r .lease.state`,
		Args: argument("LEASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.withLease(env, args[0], messages.KindLease, func(c *client.Client) (messages.Lease, error) {
				return c.Get(cmd.Context(), args[0])
			})
		},
	}
	r.registerOwner(cmd)
	return cmd
}

// withLease does something about a lease as its owner, and prints what the lease
// is then.
func (r *requester) withLease(env *environment, name, kind string, do func(*client.Client) (messages.Lease, error)) error {
	if err := r.asOwner(env, name); err != nil {
		return err
	}
	c, closeClient, err := r.client(env)
	if err != nil {
		return err
	}
	defer closeClient()
	l, err := do(c)
	if err != nil {
		return err
	}
	return r.printLease(env, kind, l)
}

// printLease prints a lease for a person, or as the reply that brought it.
func (r *requester) printLease(env *environment, kind string, l messages.Lease) error {
	if r.json {
		return writeReply(env.Stdout, messages.Reply{Kind: kind, Lease: &l})
	}
	now := env.Now()
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	row(t, "lease", l.Name)
	row(t, "state", state(l))
	row(t, "user", l.Username)
	row(t, "access key id", l.AccessKeyID)
	row(t, "issued", until(l.IssuedAt, now))
	if l.State.Ended() {
		row(t, "ended", until(l.EndedAt, now))
	} else {
		row(t, "expires", until(l.ExpiresAt, now))
		row(t, "expires at most", until(l.MaxExpiresAt, now))
	}
	if l.Renewals > 0 {
		row(t, "renewals", fmt.Sprint(l.Renewals))
	}
	row(t, "labels", labels(l))
	if l.Error != nil {
		row(t, "error", l.Error.Error())
	}
	return t.Flush()
}

// row writes a line of a table, unless its value is empty. Errors come with the
// table's Flush.
func row(w io.Writer, name, value string) {
	if value != "" {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, value)
	}
}

// state is a lease's state, and why it ends.
func state(l messages.Lease) string {
	if l.Reason == "" {
		return string(l.State)
	}
	return fmt.Sprintf("%s (%s)", l.State, l.Reason)
}

// labels are a lease's labels in the order of their keys.
func labels(l messages.Lease) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(l.Labels)) {
		pairs = append(pairs, k+"="+l.Labels[k])
	}
	return strings.Join(pairs, " ")
}

// until writes a time and how far it is from now, or "" for no time.
func until(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	stamp := t.UTC().Format(time.RFC3339)
	d := t.Sub(now).Round(time.Second)
	if d == 0 {
		return stamp + " (now)"
	}
	if d < 0 {
		return fmt.Sprintf("%s (%s ago)", stamp, messages.Duration(-d))
	}
	return fmt.Sprintf("%s (in %s)", stamp, messages.Duration(d))
}

// writeReply prints a reply as it is on the wire.
func writeReply(w io.Writer, r messages.Reply) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

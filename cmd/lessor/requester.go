package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// requester has the flags that the commands of requesters share.
type requester struct {
	cli.Connection
	identity string
	json     bool
}

// register adds the flags to a command.
func (r *requester) register(cmd *cobra.Command) {
	r.Connection.Register(cmd)
	cmd.GroupID = requesters
	cmd.Flags().StringVarP(&r.identity, "identity", "i", "", "`identity` of the requester; NATS must allow it [$LESSOR_IDENTITY]")
	cmd.Flags().BoolVar(&r.json, "json", false, "print JSON, as it is on the wire")
}

// registerOwner is register for a command about one lease.
func (r *requester) registerOwner(cmd *cobra.Command) {
	r.register(cmd)
	cmd.Flags().Lookup("identity").Usage = "`identity` of the requester (default: the identity in the lease's name)"
}

// asIdentity checks the flags of a command that needs --identity.
func (r *requester) asIdentity(env *cli.Environment) error {
	if r.identity == "" {
		r.identity = env.Getenv("LESSOR_IDENTITY")
	}
	if r.identity == "" {
		return cli.Usagef("the identity is missing; name it with --identity or LESSOR_IDENTITY")
	}
	if err := cli.CheckToken("--identity", r.identity); err != nil {
		return err
	}
	return r.Check(env)
}

// asOwner checks the flags of a command about one lease, whose name has the identity.
func (r *requester) asOwner(env *cli.Environment, lease string) error {
	l, err := messages.ParseLeaseName(lease)
	if err != nil {
		return cli.FlagError("LEASE", err)
	}
	if r.identity != "" && r.identity != l.Identity {
		return cli.Usagef("--identity is %q, but the lease belongs to %q; leave out the flag", r.identity, l.Identity)
	}
	r.identity = l.Identity
	return r.Check(env)
}

// client connects to NATS. The function that it returns closes the connection.
func (r *requester) client(env *cli.Environment) (*client.Client, func(), error) {
	ns, err := r.Namespace()
	if err != nil {
		return nil, nil, err
	}
	nc, err := r.Dial(env, "lessor "+r.identity)
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(nc, client.Options{Identity: r.identity, Namespace: ns, Timeout: r.Timeout})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return c, nc.Close, nil
}

// withLease calls do as the owner of a lease, and prints the lease that it returns.
func (r *requester) withLease(env *cli.Environment, name, kind string, do func(*client.Client) (messages.Lease, error)) error {
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

// printLease prints a lease as a table, or as a reply of this kind.
func (r *requester) printLease(env *cli.Environment, kind string, l messages.Lease) error {
	if r.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: kind, Lease: &l})
	}
	now := env.Now()
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	cli.Row(t, "lease", l.Name)
	cli.Row(t, "state", state(l))
	cli.Row(t, "user", l.Username)
	cli.Row(t, "access key id", l.AccessKeyID)
	cli.Row(t, "issued", cli.Until(l.IssuedAt, now))
	if l.State.Ended() {
		cli.Row(t, "ended", cli.Until(l.EndedAt, now))
	} else {
		cli.Row(t, "expires", cli.Until(l.ExpiresAt, now))
		cli.Row(t, "expires at most", cli.Until(l.MaxExpiresAt, now))
	}
	if l.Renewals > 0 {
		cli.Row(t, "renewals", fmt.Sprint(l.Renewals))
	}
	cli.Row(t, "labels", labels(l))
	if l.Error != nil {
		cli.Row(t, "error", l.Error.Error())
	}
	return t.Flush()
}

// state returns a lease's state, with the reason of its end if there is one.
func state(l messages.Lease) string {
	if l.Reason == "" {
		return string(l.State)
	}
	return fmt.Sprintf("%s (%s)", l.State, l.Reason)
}

// labels returns a lease's labels in the order of their keys.
func labels(l messages.Lease) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(l.Labels)) {
		pairs = append(pairs, k+"="+l.Labels[k])
	}
	return strings.Join(pairs, " ")
}

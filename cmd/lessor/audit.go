package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/keyfile"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newAuditCmd(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Verify the audit trail",
		GroupID: operators,
		Args:    cli.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerifyCmd(env), newAuditKeysCmd(env))
	return cmd
}

// auditCmd is the command that verifies the event stream.
type auditCmd struct {
	cli.Connection
	json    bool
	keys    []string
	keyFile string
	atLeast uint64
}

func newAuditVerifyCmd(env *cli.Environment) *cobra.Command {
	var a auditCmd
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Look for events that were changed, forged or removed",
		Long: `Read all events that are kept and verify them. Every broker signs what it tells, with
a key that is made of its key file; an event that was changed or slipped in has no such
signature. Events that are missing leave a gap in the stream's numbers. Where the
stream's beginning or end was cut off, the brokers' marks in the state bucket tell,
of which there is one a minute: what was told since the last may be missed.

The command exits with 1 where it finds something. It prints the number of the last
event: note it where those who run NATS can't reach, and give it to the next
verification with --at-least. Whoever has the key file and may do everything in NATS
can make up a whole history that this command finds nothing wrong with.`,
		Example: `  lessor audit keys --key-file broker.key > audit.keys
  lessor audit verify --key "$(cat audit.keys)"
  lessor audit verify --key-file broker.key --at-least 48113
  lessor audit verify --key "$(cat audit.keys)" --js-domain lessor --creds auditor-audrey.creds --inbox-prefix _INBOX_audrey`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := a.auditKeys()
			if err != nil {
				return err
			}
			if err := a.Check(env); err != nil {
				return err
			}
			return a.run(cmd.Context(), env, keys)
		},
	}
	a.Register(cmd)
	cmd.Flags().BoolVar(&a.json, "json", false, "print the result as JSON")
	cmd.Flags().StringSliceVar(&a.keys, "key", nil, "an audit `key`, as lessor audit keys prints; may be repeated")
	cmd.Flags().StringVar(&a.keyFile, "key-file", "", "the brokers' key `file`, in the place of --key")
	cmd.Flags().Uint64Var(&a.atLeast, "at-least", 0, "`number` of an event that there was")
	return cmd
}

func newAuditKeysCmd(env *cli.Environment) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Print the keys that verify events",
		Long: `Print the public keys that verify what brokers with a key file sign, one a line, the
newest first. They are no secret and open nothing. Keep those of a key that you take
out of the key file for as long as its events are kept.`,
		Example: `  lessor audit keys --key-file broker.key`,
		Args:    cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			if keyFile == "" {
				return cli.Usagef("--key-file is missing")
			}
			keys, err := keyfile.Read(keyFile)
			if err != nil {
				return err
			}
			defer keys.Wipe()
			for _, k := range keys.AuditKeys() {
				if _, err := fmt.Fprintln(env.Stdout, k); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "the brokers' key `file`")
	return cmd
}

// auditKeys are the keys that the flags name.
func (a *auditCmd) auditKeys() ([]messages.AuditKey, error) {
	switch {
	case a.keyFile == "" && len(a.keys) == 0:
		return nil, cli.Usagef(`--key or --key-file is missing; "lessor audit keys" prints the keys`)
	case a.keyFile != "" && len(a.keys) > 0:
		return nil, cli.Usagef("--key and --key-file exclude each other")
	case a.keyFile != "":
		ring, err := keyfile.Read(a.keyFile)
		if err != nil {
			return nil, err
		}
		defer ring.Wipe()
		return ring.AuditKeys(), nil
	}
	var keys []messages.AuditKey
	for _, given := range a.keys {
		for _, s := range strings.Fields(given) {
			k, err := messages.ParseAuditKey(s)
			if err != nil {
				return nil, cli.FlagError("--key", err)
			}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (a *auditCmd) run(ctx context.Context, env *cli.Environment, keys []messages.AuditKey) error {
	js, ns, err := a.Streams(env, "lessor audit")
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	result, err := client.VerifyEvents(ctx, js, client.AuditOptions{Namespace: ns, Keys: keys, AtLeast: a.atLeast})
	if err != nil {
		return err
	}
	show := showAudit
	if a.json {
		show = func(w io.Writer, r client.Audit) error { return json.NewEncoder(w).Encode(r) }
	}
	if err := show(env.Stdout, result); err != nil {
		return fmt.Errorf("print what was found: %w", err)
	}
	switch n := len(result.Findings); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("the audit trail is not whole: 1 finding")
	default:
		return fmt.Errorf("the audit trail is not whole: %d findings", n)
	}
}

func showAudit(w io.Writer, r client.Audit) error {
	for _, f := range r.Findings {
		where := "-"
		switch {
		case f.Sequence > 0 && f.Until > f.Sequence:
			where = fmt.Sprintf("%d-%d", f.Sequence, f.Until)
		case f.Sequence > 0:
			where = fmt.Sprint(f.Sequence)
		}
		if _, err := fmt.Fprintf(w, "%-9s  %s  %s\n", f.Kind, where, cli.OneLine(f.What)); err != nil {
			return err
		}
	}
	line := "no events"
	if r.Events > 0 {
		line = fmt.Sprintf("%d events, %d to %d, stored from %s to %s", r.Events, r.First, r.Last,
			r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	}
	_, err := fmt.Fprintf(w, "%s; %d marks\n", line, r.Marks)
	return err
}

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

// auditCmd is the command that verifies the events.
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
		Short: "Find events that were changed, forged or removed",
		Long: `Read and verify all stored events. Brokers sign events with a key that is derived from
their key file, so an event that was changed or forged has no valid signature. Missing
events leave a gap in the sequence numbers of the stream. If its first or last events
were removed, the brokers' marks in the state bucket show it. There is one mark a
minute: a removal of events since the last mark may not be found.

The command exits with 1 if it finds something. It prints the sequence number of the
last event. Store that number out of reach of the administrators of NATS, and give it
to the next verification with --at-least. With the key file and all permissions in
NATS, a complete false history can be made that passes this verification.`,
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
	cmd.Flags().StringSliceVar(&a.keys, "key", nil, "audit `key`, as printed by lessor audit keys; may be repeated")
	cmd.Flags().StringVar(&a.keyFile, "key-file", "", "the brokers' key `file`, instead of --key")
	cmd.Flags().Uint64Var(&a.atLeast, "at-least", 0, "sequence `number` of an event that existed")
	return cmd
}

func newAuditKeysCmd(env *cli.Environment) *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Print the public keys that verify events",
		Long: `Print the public keys for the signatures of brokers with this key file, one a line, the
newest first. They are not secret. If a key is removed from the key file, keep its
public key as long as its events are stored.`,
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

// auditKeys returns the keys of the flags.
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

// run verifies the events, and returns an error if there are findings.
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
		return fmt.Errorf("print the findings: %w", err)
	}
	switch n := len(result.Findings); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("the audit trail is not valid: 1 finding")
	default:
		return fmt.Errorf("the audit trail is not valid: %d findings", n)
	}
}

// showAudit prints the findings, and the range of events.
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

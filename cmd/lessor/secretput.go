package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
)

func newSecretPutCmd(env *cli.Environment) *cobra.Command {
	var o operator
	var revision uint64
	noCheck := false
	cmd := &cobra.Command{
		Use:   "put FILE",
		Short: "Store a dynamic secret",
		Long: `Store the dynamic secret that is defined in a file, in YAML or JSON; - is the standard
input. The broker first does a dry run: every AWS call that a lease needs, and the
removal of what they created. If a call is refused, nothing is stored, and the command
shows what is missing.

Existing leases don't change; a new definition is for new leases.

The broker stores a secret access key in the file sealed, and never shows it.`,
		Example: `  lessor secret put ci.yaml

  # change it, unless another operator has changed it since
  lessor secret get ci > ci.yaml
  lessor secret put ci.yaml --revision 7

  # without a check at AWS
  sed 's/24h/12h/' ci.yaml | lessor secret put - --no-check`,
		Args: cli.Argument("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			put := messages.SecretPut{NoCheck: noCheck}
			if cmd.Flags().Changed("revision") {
				put.Revision = &revision
			}
			if err := o.Check(env); err != nil {
				return err
			}
			var err error
			if put.Definition, err = readDefinition(env, args[0]); err != nil {
				return err
			}
			return o.put(cmd.Context(), env, put)
		},
	}
	o.registerSlow(cmd)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "store it only if this is the present `revision`; 0: only if there is none (default: store it in any case)")
	cmd.Flags().BoolVar(&noCheck, "no-check", false, "store it without a check at AWS")
	return cmd
}

// readDefinition reads a definition from a file, or from standard input. Its errors contain
// no text of the definition, which may be a secret key.
func readDefinition(env *cli.Environment, path string) (messages.DynamicSecret, error) {
	var data []byte
	var err error
	if path == "-" {
		path = "the standard input"
		data, err = io.ReadAll(io.LimitReader(env.Stdin, messages.MaxSecretBody+1))
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return messages.DynamicSecret{}, fmt.Errorf("the definition: %w; name a file that can be read, or - for the standard input", err)
	}
	defer clear(data)
	d, err := secretfile.Parse(data)
	if err == nil {
		err = definition.Check(d) // the broker checks it too, but its errors can't name the file
	}
	if err != nil {
		return d, cli.FlagError(path, err)
	}
	return d, nil
}

// put stores a definition and prints the result.
func (o *operator) put(ctx context.Context, env *cli.Environment, put messages.SecretPut) error {
	waiting := "checking it at AWS"
	if put.NoCheck {
		waiting = ""
	}
	stored, err := fetch(ctx, o, env, waiting, func(ctx context.Context, a *client.Admin) (client.PutResult, error) {
		return a.PutSecret(ctx, put)
	})
	if err != nil && (stored.Check == nil || !messages.IsCode(err, messages.CodeCheckFailed)) {
		return err
	}
	return cmp.Or(o.printStored(env, stored, err), err)
}

// printStored prints the result of a put. refusal is the error of a definition whose check
// failed, or nil.
func (o *operator) printStored(env *cli.Environment, stored client.PutResult, refusal error) error {
	switch {
	case o.json && refusal != nil:
		r := messages.ErrorReply(messages.AsError(refusal), nil)
		r.Check = stored.Check
		return cli.WriteReply(env.Stdout, r)
	case o.json:
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindSecret, Secret: &stored.Secret, Check: stored.Check})
	case refusal != nil:
		return printCheck(env.Stdout, *stored.Check)
	}
	s := stored.Secret
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	cli.Row(t, "secret", s.Name)
	cli.Row(t, "revision", revisionOf(s))
	cli.Row(t, "account", s.Connection.Account)
	cli.Row(t, "arn", s.Connection.ARN)
	if c := stored.Check; c != nil {
		cli.Row(t, "checked", fmt.Sprintf("%d calls at AWS, all allowed", len(c.Calls)))
		cli.Row(t, "error", cli.OneLine(c.Error))
	}
	printNotes(t, s.Notes) // the notes of the check are the same
	return t.Flush()
}

// revisionOf returns the revision after a put, and whether the put changed something.
func revisionOf(s messages.SecretInfo) string {
	if !s.Changed {
		return fmt.Sprintf("%d (nothing has changed)", s.Revision)
	}
	return fmt.Sprint(s.Revision)
}

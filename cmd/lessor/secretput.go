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
input. The broker first makes every call that a lease needs at AWS, and takes back
what it made; where one of them is refused, nothing is stored, and the command shows
what is missing.

What leases there are stay as they are; a new definition is for those that come.

A secret access key in the file is kept by the broker, sealed, and never shown again.`,
		Example: `  lessor secret put ci.yaml

  # change what is there, and nothing that somebody else has changed since
  lessor secret get ci > ci.yaml
  lessor secret put ci.yaml --revision 7

  # without asking AWS
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
	cmd.Flags().Uint64Var(&revision, "revision", 0, "store it only where it has this revision now; 0: only where there is none yet (default: store it in any case)")
	cmd.Flags().BoolVar(&noCheck, "no-check", false, "store it without trying it out at AWS")
	return cmd
}

// readDefinition reads a definition from a file, or from the standard input. What
// is wrong with it is said without what stands in it: that may be a secret key.
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
		err = definition.Check(d) // the broker does, too, but does not know the file
	}
	if err != nil {
		return d, cli.FlagError(path, err)
	}
	return d, nil
}

func (o *operator) put(ctx context.Context, env *cli.Environment, put messages.SecretPut) error {
	waiting := "trying it out at AWS"
	if put.NoCheck {
		waiting = ""
	}
	var stored client.PutResult
	err := o.ask(ctx, env, waiting, func(ctx context.Context, a *client.Admin) (err error) {
		stored, err = a.PutSecret(ctx, put)
		return err
	})
	if err != nil && (stored.Check == nil || !messages.IsCode(err, messages.CodeCheckFailed)) {
		return err
	}
	return cmp.Or(o.printStored(env, stored, err), err)
}

// printStored prints what came of a put, which may be that it was refused after
// it had been tried out.
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
	printNotes(t, s.Notes) // the check's are the same
	return t.Flush()
}

// revisionOf is the revision after a put, and whether it is a new one.
func revisionOf(s messages.SecretInfo) string {
	if !s.Changed {
		return fmt.Sprintf("%d (nothing has changed)", s.Revision)
	}
	return fmt.Sprint(s.Revision)
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretCheckCmd(env *cli.Environment) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "check NAME",
		Short: "Check a dynamic secret at AWS",
		Long: `Make the broker do a dry run: every AWS call that a lease of the dynamic secret needs,
and the removal of what they created. The command shows the result of each call, and
exits with 1 if one failed.`,
		Example: `  lessor secret check ci
  lessor secret check ci --json | jq '.check.calls[] | select(.ok | not)'`,
		Args: cli.Argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkNamed(env, args[0]); err != nil {
				return err
			}
			c, err := fetch(cmd.Context(), &o, env, "checking "+args[0]+" at AWS", func(ctx context.Context, a *client.Admin) (messages.SecretCheck, error) {
				return a.CheckSecret(ctx, args[0])
			})
			if err != nil {
				return err
			}
			return cmp.Or(o.printChecked(env, c), failure(c))
		},
	}
	o.registerSlow(cmd)
	return cmd
}

// printChecked prints a check as a table or as JSON.
func (o *operator) printChecked(env *cli.Environment, c messages.SecretCheck) error {
	if o.json {
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindCheck, Check: &c})
	}
	return printCheck(env.Stdout, c)
}

// printCheck prints the result of each call, and the notes.
func printCheck(w io.Writer, c messages.SecretCheck) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(c.Calls) > 0 {
		_, _ = fmt.Fprintln(t, "CALL\tON\tRESULT") // errors come with Flush
	}
	for _, call := range c.Calls {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", call.Call, cli.OrDash(call.On), result(call))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	cli.Row(t, "account", c.Connection.Account)
	cli.Row(t, "arn", c.Connection.ARN)
	cli.Row(t, "error", cli.OneLine(c.Error))
	printNotes(t, c.Notes)
	return t.Flush()
}

// result returns the result of a call. For a call that AWS denied, it has the missing
// permission.
func result(c messages.CheckedCall) string {
	switch {
	case c.OK:
		return "ok"
	case c.Action != "" && c.Resource != "":
		return fmt.Sprintf("denied: %s on %s", c.Action, c.Resource)
	case c.Action != "":
		return "denied: " + c.Action
	}
	return "failed: " + cli.OneLine(cmp.Or(c.Error, "no reason is known"))
}

// failure returns the error of a check that failed.
func failure(c messages.SecretCheck) error {
	if c.OK {
		return nil
	}
	missing := slices.DeleteFunc(slices.Clone(c.Calls), func(c messages.CheckedCall) bool { return c.OK })
	switch {
	case len(missing) == 0 && c.Error != "":
		return fmt.Errorf("the check of %s failed: %s", c.Name, c.Error)
	case len(missing) == 0:
		return fmt.Errorf("the check of %s failed for no known reason; see the broker's log", c.Name)
	}
	next := "correct the definition, or what it names at AWS"
	if slices.ContainsFunc(missing, func(c messages.CheckedCall) bool { return c.Action != "" }) {
		next = "lessor policy " + c.Name + " prints the permissions that it needs"
	}
	return fmt.Errorf("%s does not work at AWS: %d of %d calls failed; %s", c.Name, len(missing), len(c.Calls), next)
}

// printNotes prints the notes about a definition.
func printNotes(w io.Writer, notes []string) {
	for _, n := range notes {
		cli.Row(w, "note", cli.OneLine(n))
	}
}

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretListCmd(env *cli.Environment) *cobra.Command {
	var o operator
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dynamic secrets",
		Long: `List the dynamic secrets. The account is known after the broker has used AWS for the
secret: for a put, a check or a lease.`,
		Example: `  lessor secret list
  lessor secret list --json | jq -r '.secrets[].name'`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(env); err != nil {
				return err
			}
			secrets, err := fetch(cmd.Context(), &o, env, "", func(ctx context.Context, a *client.Admin) ([]messages.SecretInfo, error) {
				return a.Secrets(ctx)
			})
			if err != nil {
				return err
			}
			return o.printSecrets(env, secrets)
		},
	}
	o.register(cmd)
	return cmd
}

// printSecrets prints dynamic secrets as a table or as JSON.
func (o *operator) printSecrets(env *cli.Environment, secrets []messages.SecretInfo) error {
	if o.json {
		// The list is printed even if it is empty, for scripts.
		return cli.WriteReply(env.Stdout, messages.Reply{Kind: messages.KindSecrets, Secrets: append([]messages.SecretInfo{}, secrets...)})
	}
	if len(secrets) == 0 {
		env.Note("there are no dynamic secrets; store one with lessor secret put")
		return nil
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tSTATE\tSOURCE\tTYPE\tAUTH\tACCOUNT\tREVISION") // errors come with Flush
	for _, s := range secrets {
		aws := s.Definition.AWS
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", s.Name, s.State, source(s), cli.OrDash(string(aws.CredentialType)), cli.OrDash(string(aws.Auth.Method)), cli.OrDash(s.Connection.Account), s.Revision)
	}
	return t.Flush()
}

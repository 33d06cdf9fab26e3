package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

func newSecretCmd(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "secret",
		Short:   "Put, show, check and delete dynamic secrets",
		GroupID: operators,
		Long: `Put, show, check and delete dynamic secrets: the recipes of which leases are made.

They are kept by the broker. A secret that comes from a file in its --secrets folder
is changed there, and not with these commands. The connection to NATS must be to the
broker's own account, or to an operator's, with --operator.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newSecretPutCmd(env), newSecretGetCmd(env), newSecretListCmd(env),
		newSecretDeleteCmd(env), newSecretCheckCmd(env), newSecretRotateKeyCmd(env),
	)
	return cmd
}

// awsTimeout is how long to wait for an answer for which the broker makes calls
// to AWS, one by one.
const awsTimeout = 2 * time.Minute

// operator is what the commands that ask the admin service have in common.
type operator struct {
	connection
	json bool
	name string // "": one of those who may do everything
}

func (o *operator) register(cmd *cobra.Command) {
	o.connection.register(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, as it is on the wire")
	cmd.Flags().StringVar(&o.name, "operator", "", "ask under this `name`, which NATS must allow: the events tell it [$LESSOR_OPERATOR]")
}

// registerSlow is register for a command that has to do with AWS.
func (o *operator) registerSlow(cmd *cobra.Command) {
	o.register(cmd)
	o.timeout = awsTimeout
	cmd.Flags().Lookup("timeout").DefValue = awsTimeout.String()
}

// checkNamed checks the flags of a command about one dynamic secret.
func (o *operator) checkNamed(env *environment, name string) error {
	if err := checkToken("NAME", name); err != nil {
		return err
	}
	return o.check(env)
}

// ask connects and asks the admin service something. While that lasts, a person
// at a terminal reads what is going on, unless waiting is "".
func (o *operator) ask(ctx context.Context, env *environment, waiting string, do func(context.Context, *client.Admin) error) error {
	ns, err := o.namespace()
	if err != nil {
		return err
	}
	nc, err := o.dial(env, "lessor operator")
	if err != nil {
		return err
	}
	defer nc.Close()
	if o.name == "" {
		o.name = env.Getenv("LESSOR_OPERATOR")
	}
	a, err := client.NewAdmin(nc, client.AdminOptions{Namespace: ns, Timeout: o.timeout, Operator: o.name})
	if err != nil {
		return err
	}
	p := env.progress()
	if waiting != "" {
		p.show("%s …", waiting)
	}
	err = do(ctx, a)
	p.end()
	if err != nil {
		return operatorsError{err}
	}
	return nil
}

// source is where a dynamic secret is changed.
func source(s messages.SecretInfo) string {
	if s.Source == "" {
		return "operator"
	}
	return s.Source
}

// orDash fills the cell of a table that would be empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

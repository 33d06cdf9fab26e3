package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// awsTimeout is how long to wait for an answer for which the broker makes calls
// to AWS, one by one.
const awsTimeout = 2 * time.Minute

// operator is what the commands that ask the admin service have in common.
type operator struct {
	cli.Connection
	json bool
	name string // "": one of those who may do everything
}

func (o *operator) register(cmd *cobra.Command) {
	o.Connection.Register(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, as it is on the wire")
	cmd.Flags().StringVar(&o.name, "operator", "", "ask under this `name`, which NATS must allow: the events tell it [$LESSOR_OPERATOR]")
}

// registerSlow is register for a command that has to do with AWS.
func (o *operator) registerSlow(cmd *cobra.Command) {
	o.register(cmd)
	o.Timeout = awsTimeout
	cmd.Flags().Lookup("timeout").DefValue = awsTimeout.String()
}

// checkNamed checks the flags of a command about one dynamic secret.
func (o *operator) checkNamed(env *cli.Environment, name string) error {
	if err := cli.CheckToken("NAME", name); err != nil {
		return err
	}
	return o.Check(env)
}

// ask connects and asks the admin service something. While that lasts, a person
// at a terminal reads what is going on, unless waiting is "".
func (o *operator) ask(ctx context.Context, env *cli.Environment, waiting string, do func(context.Context, *client.Admin) error) error {
	ns, err := o.Namespace()
	if err != nil {
		return err
	}
	nc, err := o.Dial(env, "lessor operator")
	if err != nil {
		return err
	}
	defer nc.Close()
	if o.name == "" {
		o.name = env.Getenv("LESSOR_OPERATOR")
	}
	a, err := client.NewAdmin(nc, client.AdminOptions{Namespace: ns, Timeout: o.Timeout, Operator: o.name})
	if err != nil {
		return err
	}
	p := env.Progress()
	if waiting != "" {
		p.Show("%s …", waiting)
	}
	err = do(ctx, a)
	p.Clear()
	if err != nil {
		return cli.ForOperator(err)
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

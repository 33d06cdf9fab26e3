package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// awsTimeout is how long to wait for a reply for which the broker makes many calls to AWS.
const awsTimeout = 2 * time.Minute

// operator has the flags that the commands of operators share.
type operator struct {
	cli.Connection
	json bool
	name string // "": the connection may use the admin service without a name
}

// register adds the flags to a command.
func (o *operator) register(cmd *cobra.Command) {
	o.Connection.Register(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, as it is on the wire")
	cmd.Flags().StringVar(&o.name, "operator", "", "`name` of the operator, which events show; NATS must allow it [$LESSOR_OPERATOR]")
}

// registerSlow is register for a command that makes the broker call AWS.
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

// request connects to NATS and calls do with a client of the admin service. Until do
// returns, a terminal shows waiting, unless that is "".
func (o *operator) request(ctx context.Context, env *cli.Environment, waiting string, do func(context.Context, *client.Admin) error) error {
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

// fetch is operator.request for a do that returns a value.
func fetch[T any](ctx context.Context, o *operator, env *cli.Environment, waiting string, do func(context.Context, *client.Admin) (T, error)) (T, error) {
	var value T
	err := o.request(ctx, env, waiting, func(ctx context.Context, a *client.Admin) (err error) {
		value, err = do(ctx, a)
		return err
	})
	return value, err
}

// source returns where a dynamic secret comes from.
func source(s messages.SecretInfo) string {
	if s.Source == "" {
		return "operator"
	}
	return s.Source
}

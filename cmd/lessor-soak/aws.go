package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
)

// newAWSCmd returns the hidden command that runs the simulated AWS account.
func newAWSCmd(env *cli.Environment) *cobra.Command {
	var listen, control string
	cmd := &cobra.Command{
		Use:     "aws",
		Short:   "Run the simulated AWS account of a soak test",
		Hidden:  true,
		Example: "  lessor-soak aws --listen 127.0.0.1:4599 --control 127.0.0.1:4600",
		Args:    cli.NoArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAWS(cmd.Context(), env, listen, control) },
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` of IAM and STS")
	f.StringVar(&control, "control", "127.0.0.1:0", "`address` where the soak test sets faults and inspects the account")
	return cmd
}

// runAWS serves the account until the context ends.
func runAWS(ctx context.Context, env *cli.Environment, listen, control string) error {
	a := account.New()
	for addr, h := range map[string]http.Handler{listen: a, control: a.ControlHandler()} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("the AWS simulator: %w; choose another address", err)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = s.Serve(l) }() // returns when Close is called
		defer func() { _ = s.Close() }()
	}
	if _, err := fmt.Fprintln(env.Stdout, "AWS", listen); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

package main

import (
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// newNodeCmd is the NATS server of those parts that measure the memory of a
// broker: it has a process of its own.
func newNodeCmd(env *cli.Environment) *cobra.Command {
	var o embedded.Options
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "The NATS server of a bench",
		Hidden:  true,
		Example: "  lessor-bench node --store ./nats --listen 127.0.0.1:4222",
		Args:    cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = zerolog.New(env.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()
			s, err := broker.StartNATS(o)
			if err != nil {
				return err
			}
			defer s.Close()
			if _, err := fmt.Fprintln(env.Stdout, s.URL()); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.StoreDir, "store", "", "`folder` of its data")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "`address` for clients")
	f.BoolVar(&o.Durable, "durable", false, "flush every write to the disk")
	return cmd
}

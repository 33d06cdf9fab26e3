package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/embedded"
)

// newBenchNodeCmd is the NATS server of those parts that measure the memory of a
// broker: it has a process of its own.
func newBenchNodeCmd(env *environment) *cobra.Command {
	var o embedded.Options
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "The NATS server of a bench",
		Hidden:  true,
		Example: "  lessor bench node --store ./nats --listen 127.0.0.1:4222",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = zerolog.New(env.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()
			s, err := embedded.Start(o)
			if err != nil {
				return notStarted(err)
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

// benchNode is a NATS server in a process of its own.
type benchNode struct {
	process *soakProcess
	dir     string
	url     string
}

func (b *bench) startNode(ctx context.Context) (*benchNode, error) {
	at, err := soakAddresses(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"bench", "node", "--store", filepath.Join(dir, "nats"), "--listen", at[0]}
	if b.durable {
		args = append(args, "--durable")
	}
	n := &benchNode{
		process: &soakProcess{name: "nats", dir: dir, args: args, tally: newSoakTally()},
		dir:     dir, url: "nats://" + at[0],
	}
	err = n.process.start()
	if err == nil {
		err = soakUntil(ctx, startTimeout, "the NATS server is up", func() error {
			nc, err := n.connect()
			if err == nil {
				nc.Close()
			}
			return err
		})
	}
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *benchNode) connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(n.url, options...)
}

// close ends the process and removes its data.
func (n *benchNode) close() {
	n.process.kill()
	_ = os.RemoveAll(n.dir) // in the folder for temporary files
}

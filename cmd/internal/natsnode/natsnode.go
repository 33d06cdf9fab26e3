// Package natsnode is a command that runs a NATS server in a process of its own, alone or
// as one server of a cluster. The benchmark and the soak test start themselves with it.
package natsnode

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
)

// node has the flags of the command.
type node struct {
	embedded.Options
	cluster string   // the address for the other servers; "": no cluster
	routes  []string // the cluster addresses of all servers
}

// NewCommand returns the hidden command "node" of a program. The server ends with the
// context of the command.
func NewCommand(env *cli.Environment, program string) *cobra.Command {
	var n node
	cmd := &cobra.Command{
		Use:    "node",
		Short:  "Run a NATS server",
		Hidden: true,
		Example: "  " + program + " node --store ./nats --listen 127.0.0.1:4222\n" +
			"  " + program + " node --name n1 --store ./n1 --listen 127.0.0.1:4222 --cluster 127.0.0.1:6222 --routes 127.0.0.1:6222,127.0.0.1:6223",
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return n.run(cmd, env) },
	}
	f := cmd.Flags()
	f.StringVar(&n.ServerName, "name", "", "`name` of the server")
	f.StringVar(&n.StoreDir, "store", "", "`folder` of its data")
	f.StringVar(&n.Listen, "listen", "127.0.0.1:0", "`address` for clients")
	f.BoolVar(&n.Durable, "durable", false, "flush every write to the disk")
	f.StringVar(&n.cluster, "cluster", "", "`address` for the other servers of a cluster")
	f.StringSliceVar(&n.routes, "routes", nil, "cluster `addresses` of all servers")
	return cmd
}

// run runs the server until the context of the command ends.
func (n *node) run(cmd *cobra.Command, env *cli.Environment) error {
	if n.cluster != "" {
		if err := n.joinCluster(); err != nil {
			return err
		}
	}
	n.Log = zerolog.New(env.Stderr).Level(zerolog.InfoLevel).With().Timestamp().Logger()
	s, err := broker.StartNATS(n.Options)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := fmt.Fprintln(env.Stdout, s.URL()); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return nil
}

// joinCluster makes the server one of a cluster.
func (n *node) joinCluster() error {
	host, text, err := net.SplitHostPort(n.cluster)
	if err != nil {
		return cli.Usagef("--cluster %q is not a host and a port", n.cluster)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return cli.Usagef("--cluster %q is not a host and a port", n.cluster)
	}
	n.Configure = func(o *server.Options) {
		// Advertised addresses would let clients bypass the proxies of the soak test.
		o.Cluster = server.ClusterOpts{Name: "lessor", Host: host, Port: port, NoAdvertise: true}
		for _, r := range n.routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r})
		}
	}
	return nil
}

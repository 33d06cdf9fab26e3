package main

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

// newNodeCmd is one NATS server of a soak's cluster. It has a process of its
// own, so that it can be killed.
func newNodeCmd(env *cli.Environment) *cobra.Command {
	var name, store, listen, cluster string
	var routes []string
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "One NATS server of a soak",
		Hidden:  true,
		Example: "  lessor-soak node --name n1 --store ./n1 --listen 127.0.0.1:4222 --cluster 127.0.0.1:6222 --routes 127.0.0.1:6222,127.0.0.1:6223",
		Args:    cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, text, err := net.SplitHostPort(cluster)
			if err != nil {
				return cli.Usagef("--cluster %q is not a host and a port", cluster)
			}
			port, err := strconv.Atoi(text)
			if err != nil {
				return cli.Usagef("--cluster %q is not a host and a port", cluster)
			}
			s, err := broker.StartNATS(embedded.Options{
				ServerName: name, StoreDir: store, Listen: listen,
				Log: zerolog.New(env.Stderr).Level(zerolog.InfoLevel).With().Timestamp().Logger(),
				Configure: func(o *server.Options) {
					// Told of the others' addresses, a broker would go round its proxies.
					o.Cluster = server.ClusterOpts{Name: "soak", Host: host, Port: port, NoAdvertise: true}
					for _, r := range routes {
						o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r})
					}
				},
			})
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
	f.StringVar(&name, "name", "", "the server's `name`")
	f.StringVar(&store, "store", "", "`folder` of its data")
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` for clients")
	f.StringVar(&cluster, "cluster", "127.0.0.1:0", "`address` for the other servers")
	f.StringSliceVar(&routes, "routes", nil, "cluster `addresses` of all servers")
	return cmd
}

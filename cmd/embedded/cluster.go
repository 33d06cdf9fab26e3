package embedded

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/proc"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ClusterOptions configure a [Cluster]. The zero value is usable.
type ClusterOptions struct {
	// Log receives the servers' logs; the zero value discards them.
	Log zerolog.Logger
	// Durable is [Options.Durable], for every node.
	Durable bool
	// Timeout bounds the wait for a JetStream leader and for all nodes to be current; 0 is
	// [DefaultStartTimeout].
	Timeout time.Duration
	// Configure changes each node's options before it starts; nil changes nothing.
	Configure func(*server.Options)
}

// Cluster is several servers with JetStream in one process. Each keeps its loopback
// addresses over a restart.
type Cluster struct {
	Nodes []*Server // nil for a node that is stopped

	clients []string // host:port for clients, by node
	routes  []string // host:port for routes, by node
	dir     string
	options ClusterOptions
}

// StartCluster starts n nodes that keep their data in folders n1, n2, … of dir. It
// returns when they have elected a JetStream leader and all are current. [Cluster.Close]
// stops it and leaves dir.
func StartCluster(n int, dir string, o ClusterOptions) (*Cluster, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultStartTimeout
	}
	ports, err := proc.FreeAddresses(2 * n)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Nodes: make([]*Server, n), clients: ports[:n], routes: ports[n:], dir: dir, options: o}
	for i := range n {
		if err := c.start(i); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.wait(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// URLs returns the addresses of all nodes for clients, separated by commas as
// [nats.Connect] takes them. Node i comes first.
func (c *Cluster) URLs(i int) string {
	urls := make([]string, 0, len(c.clients))
	for k := range c.clients {
		urls = append(urls, "nats://"+c.clients[(i+k)%len(c.clients)])
	}
	return strings.Join(urls, ",")
}

// Connect connects to node i, or to the next one if node i is stopped. The connection
// moves to another node when its node stops.
func (c *Cluster) Connect(i int, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.DontRandomize(), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond),
	}, opts...)
	return nats.Connect(c.URLs(i), all...)
}

// Stop shuts node i down. JetStream works as long as the other nodes are a majority.
func (c *Cluster) Stop(i int) {
	if c.Nodes[i] != nil {
		c.Nodes[i].Close()
		c.Nodes[i] = nil
	}
}

// Restart stops node i, if it is running, and starts it on the same store and addresses.
// It returns when all running nodes are current.
func (c *Cluster) Restart(i int) error {
	c.Stop(i)
	if err := c.start(i); err != nil {
		return err
	}
	return c.wait()
}

// Close shuts all nodes down.
func (c *Cluster) Close() {
	for i := range c.Nodes {
		c.Stop(i)
	}
}

func (c *Cluster) start(i int) error {
	name := fmt.Sprintf("n%d", i+1)
	s, err := Start(Options{
		ServerName: name, StoreDir: filepath.Join(c.dir, name), Listen: c.clients[i],
		Durable: c.options.Durable, StartTimeout: c.options.Timeout, Log: c.options.Log,
		Configure: func(o *server.Options) {
			// The address came from a listener, so it has a valid port.
			host, port, _ := hostPort(c.routes[i])
			o.Cluster = server.ClusterOpts{Name: "lessor", Host: host, Port: port}
			for _, r := range c.routes {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r})
			}
			if c.options.Configure != nil {
				c.options.Configure(o)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	c.Nodes[i] = s
	return nil
}

// wait returns when the running nodes have a JetStream leader that sees all of them, and
// all are current. It polls: the servers announce neither.
func (c *Cluster) wait() error {
	running := slices.DeleteFunc(slices.Clone(c.Nodes), func(s *Server) bool { return s == nil })
	for deadline := time.Now().Add(c.options.Timeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if current(running) {
			return nil
		}
	}
	return fmt.Errorf("the cluster's %d running nodes had no JetStream leader, or were not all current, within %s", len(running), c.options.Timeout)
}

// current reports whether the nodes have a leader that sees all of them, and all are current.
func current(nodes []*Server) bool {
	led := false
	for _, s := range nodes {
		if !s.nats.JetStreamIsCurrent() {
			return false
		}
		led = led || s.nats.JetStreamIsLeader() && len(s.nats.JetStreamClusterPeers()) >= len(nodes)
	}
	return led
}

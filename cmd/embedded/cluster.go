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

// ClusterOptions say how a cluster is started; the zero value will do.
type ClusterOptions struct {
	// Log takes the servers' logs; the zero value discards them.
	Log zerolog.Logger
	// Durable is [Options.Durable], for every node.
	Durable bool
	// Timeout is how long to wait until the nodes agree; 0 is
	// [DefaultStartTimeout].
	Timeout time.Duration
	// Configure changes each node's options last; nil changes nothing.
	Configure func(*server.Options)
}

// Cluster is several servers with JetStream in one process, on loopback
// addresses that stay theirs over a restart.
type Cluster struct {
	Nodes []*Server // nil where a node is stopped

	clients []string // host:port for clients, by node
	routes  []string // host:port for routes, by node
	dir     string
	options ClusterOptions
}

// StartCluster starts n nodes that keep their data in folders n1, n2, … of dir,
// and returns when they have elected a JetStream leader and all are up to date.
// Stop it with [Cluster.Close]; dir stays.
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

// URLs are the addresses of all nodes for clients, separated by commas as
// nats.Connect takes them, node i's first.
func (c *Cluster) URLs(i int) string {
	urls := make([]string, 0, len(c.clients))
	for k := range c.clients {
		urls = append(urls, "nats://"+c.clients[(i+k)%len(c.clients)])
	}
	return strings.Join(urls, ",")
}

// Connect connects to node i, or, where that is stopped, to the next one. The
// connection goes over when its node stops.
func (c *Cluster) Connect(i int, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.DontRandomize(), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond),
	}, opts...)
	return nats.Connect(c.URLs(i), all...)
}

// Stop shuts node i down. The others go on as long as they are a majority.
func (c *Cluster) Stop(i int) {
	if c.Nodes[i] != nil {
		c.Nodes[i].Close()
		c.Nodes[i] = nil
	}
}

// Restart starts node i again on its store and its addresses, stopping it first
// where it runs, and returns when all running nodes are up to date.
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
			// Both came from the listener that found the address free.
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

// wait returns when the running nodes have a JetStream leader that sees all of
// them, and all are up to date. The servers tell nobody when that is so.
func (c *Cluster) wait() error {
	running := slices.DeleteFunc(slices.Clone(c.Nodes), func(s *Server) bool { return s == nil })
	for deadline := time.Now().Add(c.options.Timeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if settled(running) {
			return nil
		}
	}
	return fmt.Errorf("the cluster's %d running nodes had no JetStream leader with everybody up to date within %s", len(running), c.options.Timeout)
}

func settled(nodes []*Server) bool {
	led := false
	for _, s := range nodes {
		if !s.nats.JetStreamIsCurrent() {
			return false
		}
		led = led || s.nats.JetStreamIsLeader() && len(s.nats.JetStreamClusterPeers()) >= len(nodes)
	}
	return led
}

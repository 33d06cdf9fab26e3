package world

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/internal/proc"
)

// nodeStart is the time that a NATS server may take until it accepts a connection.
const nodeStart = 30 * time.Second

// Node is a NATS server in a process of its own.
type Node struct {
	process *proc.Process
	dir     string
	url     string
}

// StartNode starts a NATS server in a process of its own and waits until it accepts a
// connection. A durable server flushes every write to the disk.
func StartNode(ctx context.Context, durable bool) (*Node, error) {
	address, err := proc.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"node", "--store", filepath.Join(dir, "nats"), "--listen", address[0]}
	if durable {
		args = append(args, "--durable")
	}
	n := &Node{
		process: &proc.Process{Name: "nats", Dir: dir, Args: args, Died: func(*os.ProcessState, time.Duration) {}},
		dir:     dir, url: "nats://" + address[0],
	}
	err = n.process.Start()
	if err == nil {
		err = poll.Within(ctx, nodeStart, "the NATS server is up", func() error {
			nc, err := n.Connect()
			if err == nil {
				nc.Close()
			}
			return err
		})
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Connect connects to the server.
func (n *Node) Connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(n.url, options...)
}

// Close kills the process and removes its data.
func (n *Node) Close() {
	n.process.Kill()
	_ = os.RemoveAll(n.dir) // a temporary folder
}

// Cluster is the NATS servers that the replicas use.
type Cluster struct {
	// Connect connects to the server with the given number; the first is 0.
	Connect func(node int, o ...nats.Option) (*nats.Conn, error)
	// Close stops the servers and removes their data.
	Close func()
}

// StartCluster starts as many NATS servers as nodes says: one in a process of its own, or
// a cluster in this process.
func StartCluster(ctx context.Context, nodes int, durable bool) (Cluster, error) {
	if nodes == 1 {
		node, err := StartNode(ctx, durable)
		if err != nil {
			return Cluster{}, err
		}
		connect := func(_ int, o ...nats.Option) (*nats.Conn, error) { return node.Connect(o...) }
		return Cluster{Connect: connect, Close: node.Close}, nil
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return Cluster{}, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // a temporary folder
	cluster, err := embedded.StartCluster(nodes, dir, embedded.ClusterOptions{Durable: durable})
	if err != nil {
		remove()
		return Cluster{}, err
	}
	return Cluster{Connect: cluster.Connect, Close: func() { cluster.Close(); remove() }}, nil
}

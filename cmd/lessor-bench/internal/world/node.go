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

// nodeStart is how long a NATS server may take until it answers.
const nodeStart = 30 * time.Second

// node is a NATS server in a process of its own.
type node struct {
	process *proc.Process
	dir     string
	url     string
}

func StartNode(ctx context.Context, durable bool) (*node, error) {
	at, err := proc.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"node", "--store", filepath.Join(dir, "nats"), "--listen", at[0]}
	if durable {
		args = append(args, "--durable")
	}
	n := &node{
		process: &proc.Process{Name: "nats", Dir: dir, Args: args, Died: func(*os.ProcessState, time.Duration) {}},
		dir:     dir, url: "nats://" + at[0],
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

func (n *node) Connect(options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(n.url, options...)
}

// Close ends the process and removes its data.
func (n *node) Close() {
	n.process.Kill()
	_ = os.RemoveAll(n.dir) // in the folder for temporary files
}

// StartNodes starts the NATS servers under the replicas.
func StartNodes(ctx context.Context, nodes int, durable bool) (connect func(node int, o ...nats.Option) (*nats.Conn, error), leave func(), err error) {
	if nodes == 1 {
		node, err := StartNode(ctx, durable)
		if err != nil {
			return nil, nil, err
		}
		return func(_ int, o ...nats.Option) (*nats.Conn, error) { return node.Connect(o...) }, node.Close, nil
	}
	dir, err := os.MkdirTemp("", "lessor-bench-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) } // in the folder for temporary files
	cluster, err := embedded.StartCluster(nodes, dir, embedded.ClusterOptions{Durable: durable})
	if err != nil {
		remove()
		return nil, nil, err
	}
	return cluster.Connect, func() { cluster.Close(); remove() }, nil
}

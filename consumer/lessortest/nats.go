package lessortest

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
)

// Verbs are the verbs that have a work queue.
var Verbs = []messages.Verb{messages.VerbRequest, messages.VerbRenew, messages.VerbRevoke, messages.VerbConfirm}

// StartNATS starts the server on the world's store and connects the test to it. [Start]
// has done so already; a test calls it after [World.StopNATS].
func (w *World) StartNATS(change ...func(*embedded.Options)) {
	w.T.Helper()
	o := embedded.Options{StoreDir: w.Dir, Listen: "127.0.0.1:0"}
	for _, f := range change {
		f(&o)
	}
	server, err := embedded.Start(o)
	w.NoError(err)
	w.NATS = server
	w.T.Cleanup(server.Close)
	w.Use(w.Connect())
}

// StopNATS stops the server and returns the address at which it listened. Its store
// stays.
func (w *World) StopNATS() (address string) {
	address = strings.TrimPrefix(w.NATS.URL(), "nats://")
	w.Conn.Close()
	w.NATS.Close()
	return address
}

// RestartNATS stops the server, calls meanwhile (which may be nil), and starts it again
// at another address.
func (w *World) RestartNATS(meanwhile func()) {
	w.T.Helper()
	w.StopNATS()
	if meanwhile != nil {
		meanwhile()
	}
	w.StartNATS()
}

// startCluster starts a cluster and connects the test to it. The connection finds
// another node if its node stops.
func (w *World) startCluster(nodes int) {
	w.T.Helper()
	var err error
	w.Cluster, err = embedded.StartCluster(nodes, filepath.Join(w.Dir, "cluster"), embedded.ClusterOptions{Timeout: 15 * time.Second})
	w.NoError(err)
	w.T.Cleanup(w.Cluster.Close)
	nc, err := w.Cluster.Connect(0)
	w.NoError(err)
	w.T.Cleanup(nc.Close)
	w.Use(nc)
}

// Use makes nc the test's own connection.
func (w *World) Use(nc *nats.Conn) {
	w.T.Helper()
	js, err := jetstream.New(nc)
	w.NoError(err)
	w.Conn, w.JS = nc, js
}

// Connect connects to the server inside the process. Such a connection does not find
// the server again after a restart. It ends with the test.
func (w *World) Connect(options ...nats.Option) *nats.Conn {
	w.T.Helper()
	nc, err := w.NATS.Connect(options...)
	w.NoError(err)
	w.T.Cleanup(nc.Close)
	return nc
}

// Dial connects over TCP to the server, or to the nodes from the given one on, with
// nothing but these options. The connection ends with the test.
func (w *World) Dial(node int, options ...nats.Option) *nats.Conn {
	w.T.Helper()
	url := ""
	if w.Cluster != nil {
		url = w.Cluster.URLs(node)
	} else {
		url = w.NATS.URL()
	}
	return w.DialURL(url, options...)
}

// DialURL is [World.Dial] for a server that the world did not start.
func (w *World) DialURL(url string, options ...nats.Option) *nats.Conn {
	w.T.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, options...)...)
	w.NoError(err)
	w.T.Cleanup(nc.Close)
	return nc
}

// Reconnecting are the options of a connection that finds its server again, quickly,
// and that buffers nothing meanwhile: those of a broker.
func Reconnecting(more ...nats.Option) []nats.Option {
	return append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
	}, more...)
}

// Bucket opens a bucket.
func (w *World) Bucket(name string) jetstream.KeyValue {
	w.T.Helper()
	kv, err := w.JS.KeyValue(w.Context(), name)
	w.NoError(err)
	return kv
}

// values reads all values of a bucket.
func (w *World) values(bucket string) ([]jetstream.KeyValueEntry, error) {
	ctx := w.Context()
	kv, err := w.JS.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = watch.Stop() }()
	var all []jetstream.KeyValueEntry
	for e := range watch.Updates() {
		if e == nil {
			break
		}
		all = append(all, e)
	}
	return all, nil
}

// QueuesAreEmpty reports whether no message is left on the verbs' streams.
func (w *World) QueuesAreEmpty() bool {
	w.T.Helper()
	for _, v := range Verbs {
		s, err := w.JS.Stream(w.Context(), w.Namespace.Stream(v))
		w.NoError(err)
		if s.CachedInfo().State.Msgs > 0 {
			return false
		}
	}
	return true
}

// WaitQueuesEmpty waits until no message is left on the verbs' streams: everything
// that was asked for so far has been handled.
func (w *World) WaitQueuesEmpty() {
	w.T.Helper()
	w.Eventually("the work queues are empty", w.QueuesAreEmpty)
}

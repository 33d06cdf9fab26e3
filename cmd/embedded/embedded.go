// Package embedded runs the real NATS server with JetStream inside this
// process: for `lessor serve --embedded`, for the dev and demo commands, and for
// tests. It is nats-server itself, not an imitation, so what holds here holds
// for a server of one's own.
//
// A [Server] keeps its data in a folder. The NATS server takes no lock on it and
// would let a second one write to the same files, so [Start] takes one: it is
// released by [Server.Close], and by the operating system when the process dies.
//
// A [Cluster] is several servers in one process with routes between them, for
// tests of what happens when one of them goes away.
package embedded

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// DefaultStartTimeout is how long [Start] waits for the server to be ready where
// [Options] do not say. It takes milliseconds; what takes long is reading a
// large store back after a crash.
const DefaultStartTimeout = 30 * time.Second

// Options say how a server is started. Their zero value is a server for a test:
// in-process connections only, and a store that [Server.Close] removes.
type Options struct {
	// ServerName is the server's name, in logs and in a cluster; "" is
	// "lessor-embedded".
	ServerName string
	// StoreDir is the folder that keeps the data. It is made, for this user
	// alone, where it is missing. "" is a temporary folder that Close removes.
	StoreDir string
	// Listen is the host and port for clients, such as "127.0.0.1:4222"; port 0
	// picks a free one ([Server.URL] tells it). "" listens nowhere: only
	// [Server.Connect] reaches the server.
	Listen string
	// Durable has every write flushed to the disk before it is acknowledged.
	// Without it a crash of the process loses nothing, a power cut up to two
	// minutes.
	Durable bool
	// LockTimeout is how long to wait for a store that another process holds,
	// which a successor needs while its predecessor shuts down. 0 does not wait.
	LockTimeout time.Duration
	// StartTimeout is how long to wait for the server to be ready; 0 is
	// [DefaultStartTimeout].
	StartTimeout time.Duration
	// Log takes the server's own log; the zero value discards it.
	Log zerolog.Logger
	// Configure changes the server's options last, for instance to give it
	// accounts. nil changes nothing.
	Configure func(*server.Options)
}

// Server is a running NATS server.
type Server struct {
	nats      *server.Server
	listens   bool
	lock      *os.File
	temporary string // folder to remove, or ""
	closing   sync.Once
}

// Start starts a server and returns when it takes connections and JetStream is
// ready. The error is [ErrStoreInUse] where another process has the folder open.
func Start(o Options) (*Server, error) {
	opts, err := o.server()
	if err != nil {
		return nil, err
	}
	s := &Server{listens: !opts.DontListen}
	if o.StoreDir == "" {
		if s.temporary, err = os.MkdirTemp("", "lessor-nats-"); err != nil {
			return nil, fmt.Errorf("a temporary folder for the NATS server's store: %w", err)
		}
		opts.StoreDir = s.temporary
	}
	if err := s.start(opts, o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start locks the store and runs the server on it. What it leaves behind on an
// error, Close removes.
func (s *Server) start(opts *server.Options, o Options) error {
	var err error
	if s.lock, err = lockStore(opts.StoreDir, o.LockTimeout); err != nil {
		return err
	}
	log := newLogger(o.Log)
	if s.nats, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("the embedded NATS server's options: %w", err)
	}
	s.nats.SetLoggerV2(log, log.debug, false, false)
	go s.nats.Start()

	timeout := o.StartTimeout
	if timeout <= 0 {
		timeout = DefaultStartTimeout
	}
	ready := make(chan bool, 1)
	go func() { ready <- s.nats.ReadyForConnections(timeout) }()
	select {
	case line := <-log.fatal:
		return fmt.Errorf("the embedded NATS server did not start: %s", line)
	case ok := <-ready:
		if !ok {
			return fmt.Errorf("the embedded NATS server was not ready within %s; its log says what it waits for", timeout)
		}
	}
	if !s.nats.JetStreamEnabled() {
		return fmt.Errorf("the embedded NATS server has no JetStream on %s; its log says why", opts.StoreDir)
	}
	return nil
}

// URL is the address for clients, or "" where the server does not listen.
func (s *Server) URL() string {
	if !s.listens {
		return ""
	}
	return s.nats.ClientURL()
}

// Durable says whether every write is flushed to the disk before it is acknowledged, as
// the running server has it.
func (s *Server) Durable() bool { return s.nats.JetStreamConfig().SyncAlways }

// Connect connects to the server inside the process, whether it listens or not.
// Such a connection does not find the server again after a restart.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if s.nats == nil {
		return nil, errors.New("the embedded NATS server is not running")
	}
	return nats.Connect(s.nats.ClientURL(), append([]nats.Option{nats.InProcessServer(s.nats)}, opts...)...)
}

// Close shuts the server down, waits until it has, and lets go of the store. It
// may be called more than once. Drain connections before.
func (s *Server) Close() {
	s.closing.Do(func() {
		if s.nats != nil {
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
		}
		if s.lock != nil {
			_ = s.lock.Close() // which releases the lock
		}
		if s.temporary != "" {
			_ = os.RemoveAll(s.temporary) // only temporary data; the system clears it too
		}
	})
}

// Package embedded runs the NATS server with JetStream inside this process: for
// `lessor serve --embedded`, for the dev and demo commands, and for tests. It is
// nats-server itself, not an imitation.
//
// A [Server] keeps its data in a folder. The NATS server does not lock that folder, and
// two servers would write to the same files, so [Start] locks it. [Server.Close] releases
// the lock; if the process dies, the operating system does.
//
// A [Cluster] is several servers in one process with routes between them, for tests in
// which one of them stops.
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

// DefaultStartTimeout is how long [Start] waits for the server to be ready unless
// [Options] say otherwise. A start takes milliseconds, but longer if the server must
// recover a large store after a crash.
const DefaultStartTimeout = 30 * time.Second

// Options configure a [Server]. The zero value is a server for a test: it accepts
// in-process connections only, and [Server.Close] removes its store.
type Options struct {
	// ServerName is the server's name, in logs and in a cluster; "" is
	// "lessor-embedded".
	ServerName string
	// StoreDir is the folder of the data. If it is missing, it is created for this user
	// only. "" is a temporary folder that Close removes.
	StoreDir string
	// Listen is the host and port for clients, such as "127.0.0.1:4222". Port 0 is any
	// free port; [Server.URL] returns it. "" does not listen: only [Server.Connect]
	// reaches the server.
	Listen string
	// Durable makes the server flush every write to the disk before it acknowledges it.
	// Without it a crash of the process loses nothing, but a power failure loses up to two
	// minutes of writes.
	Durable bool
	// LockTimeout is how long to wait for a store that another process has open, such as
	// a predecessor that is shutting down. 0 does not wait.
	LockTimeout time.Duration
	// StartTimeout is how long to wait for the server to be ready; 0 is
	// [DefaultStartTimeout].
	StartTimeout time.Duration
	// Log receives the server's log; the zero value discards it.
	Log zerolog.Logger
	// Configure changes the server's options before it starts, for instance to add
	// accounts. nil changes nothing.
	Configure func(*server.Options)
}

// Server is a running NATS server.
type Server struct {
	nats      *server.Server
	listens   bool
	lock      *os.File
	temporary string // the folder that Close removes, or ""
	closing   sync.Once
}

// Start starts a server and returns when it accepts connections and JetStream is ready.
// It returns an error with [ErrStoreInUse] in its chain if another process has the store
// open.
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

// start locks the store and runs the server on it. After an error the caller must call
// Close.
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

// URL returns the address for clients, or "" if the server does not listen.
func (s *Server) URL() string {
	if !s.listens {
		return ""
	}
	return s.nats.ClientURL()
}

// Durable reports whether the running server flushes every write to the disk before it
// acknowledges it.
func (s *Server) Durable() bool { return s.nats.JetStreamConfig().SyncAlways }

// Connect connects to the server inside the process, whether it listens or not. Such a
// connection does not survive a restart of the server.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if s.nats == nil {
		return nil, errors.New("the embedded NATS server is not running")
	}
	return nats.Connect(s.nats.ClientURL(), append([]nats.Option{nats.InProcessServer(s.nats)}, opts...)...)
}

// Close shuts the server down, waits until that is done, and releases the store. It may
// be called more than once. Drain connections first.
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
			_ = os.RemoveAll(s.temporary) // a temporary folder; the system removes it too
		}
	})
}

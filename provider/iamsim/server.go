package iamsim

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server serves a Sim or an Agent over HTTP. The URL of a Sim is the SDK's endpoint of both IAM and STS.
type Server struct {
	URL  string
	http *http.Server
	done chan struct{}
}

// Start serves the account on a free port of the loopback interface.
func (s *Sim) Start() (*Server, error) { return s.StartOn("127.0.0.1:0") }

// StartOn serves the account on addr.
func (s *Sim) StartOn(addr string) (*Server, error) { return serveOn(s, addr) }

func serveOn(h http.Handler, addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("iamsim: %w", err)
	}
	srv := &Server{
		URL:  "http://" + l.Addr().String(),
		http: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second},
		done: make(chan struct{}),
	}
	go func() {
		defer close(srv.done)
		_ = srv.http.Serve(l) // always ErrServerClosed: only Close ends it
	}()
	return srv, nil
}

// Close closes the listener and all connections. The account keeps its state and can be started again.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

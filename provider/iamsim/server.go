package iamsim

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is a Sim, or an Agent, on a socket. Give a Sim's URL to the SDK as the endpoint of both IAM and STS.
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

// Close cuts all connections. The account lives on: it can be started again.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

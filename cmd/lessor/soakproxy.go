package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// soakProxy is the line between one broker and one NATS server, which can be bad.
type soakProxy struct {
	to       string
	listener net.Listener

	up, down atomic.Bool  // nothing gets through to the server, or from it
	delay    atomic.Int64 // nanoseconds, each way

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newSoakProxy(to string) (*soakProxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &soakProxy{to: to, listener: l, conns: map[net.Conn]struct{}{}}
	go p.accept()
	return p, nil
}

func (p *soakProxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *soakProxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go p.carry(from)
	}
}

// carry is one connection.
func (p *soakProxy) carry(from net.Conn) {
	defer p.drop(from)
	if !p.keep(from) {
		return
	}
	to, err := net.DialTimeout("tcp", p.to, time.Second)
	if err != nil {
		return
	}
	defer p.drop(to)
	if !p.keep(to) {
		return
	}
	ended := make(chan struct{}, 2)
	go func() { p.pump(to, from, &p.up); ended <- struct{}{} }()
	go func() { p.pump(from, to, &p.down); ended <- struct{}{} }()
	<-ended // the other one ends when its connection is dropped
}

// keep notes a connection, unless the line is cut.
func (p *soakProxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.cut
}

func (p *soakProxy) drop(c net.Conn) {
	_ = c.Close() // it may be closed already
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *soakProxy) pump(to, from net.Conn, stalled *atomic.Bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for stalled.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(p.delay.Load()))
		if _, wrote := to.Write(buffer[:n]); err != nil || wrote != nil {
			return
		}
	}
}

// sever cuts the line: connections break, and new ones do too.
func (p *soakProxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// mend makes the line a good one.
func (p *soakProxy) mend() {
	p.up.Store(false)
	p.down.Store(false)
	p.delay.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

func (p *soakProxy) close() {
	_ = p.listener.Close()
	p.mend()
	p.sever()
}

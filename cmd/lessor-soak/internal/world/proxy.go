package world

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is the line between one broker and one NATS server, which can be bad.
type Proxy struct {
	to       string
	listener net.Listener

	Up, Down atomic.Bool  // nothing gets through to the server, or from it
	Delay    atomic.Int64 // nanoseconds, each way

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newProxy(to string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{to: to, listener: l, conns: map[net.Conn]struct{}{}}
	go p.accept()
	return p, nil
}

func (p *Proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go p.carry(from)
	}
}

// carry is one connection.
func (p *Proxy) carry(from net.Conn) {
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
	go func() { p.pump(to, from, &p.Up); ended <- struct{}{} }()
	go func() { p.pump(from, to, &p.Down); ended <- struct{}{} }()
	<-ended // the other one ends when its connection is dropped
}

// keep notes a connection, unless the line is cut.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.cut
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close() // it may be closed already
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) pump(to, from net.Conn, stalled *atomic.Bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for stalled.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(p.Delay.Load()))
		if _, wrote := to.Write(buffer[:n]); err != nil || wrote != nil {
			return
		}
	}
}

// Sever cuts the line: connections break, and new ones do too.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Mend makes the line a good one.
func (p *Proxy) Mend() {
	p.Up.Store(false)
	p.Down.Store(false)
	p.Delay.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.Mend()
	p.Sever()
}

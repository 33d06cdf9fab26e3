package world

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy forwards the connections of one broker to one NATS server and can disturb them.
type Proxy struct {
	server   string // its address
	listener net.Listener

	// StallToServer and StallToBroker hold back the data of one direction.
	StallToServer, StallToBroker atomic.Bool
	// Delay is the delay of each read, in nanoseconds, in both directions.
	Delay atomic.Int64

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// newProxy starts a proxy to a server on a free port.
func newProxy(server string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{server: server, listener: l, conns: map[net.Conn]struct{}{}}
	go p.accept()
	return p, nil
}

func (p *Proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go p.forward(client)
	}
}

// forward forwards one connection until either side closes it.
func (p *Proxy) forward(client net.Conn) {
	defer p.remove(client)
	if !p.add(client) {
		return
	}
	server, err := net.DialTimeout("tcp", p.server, time.Second)
	if err != nil {
		return
	}
	defer p.remove(server)
	if !p.add(server) {
		return
	}
	ended := make(chan struct{}, 2)
	go func() { p.copy(server, client, &p.StallToServer); ended <- struct{}{} }()
	go func() { p.copy(client, server, &p.StallToBroker); ended <- struct{}{} }()
	<-ended // the other direction ends when its connection is closed
}

// add adds a connection. It returns false if the connections are cut.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.cut
}

func (p *Proxy) remove(c net.Conn) {
	_ = c.Close() // it may be closed already
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) copy(to, from net.Conn, stalled *atomic.Bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for stalled.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Duration(p.Delay.Load()))
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// Cut closes all connections. New ones are closed, too, until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Heal ends all disturbances.
func (p *Proxy) Heal() {
	p.StallToServer.Store(false)
	p.StallToBroker.Store(false)
	p.Delay.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.Heal()
	p.Cut()
}

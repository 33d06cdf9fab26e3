package lessortest

import (
	"bytes"
	"net"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/consumer"
)

// Line is the dialer of a broker's connection to NATS. The test can interfere with
// what goes over the connection. [NewLine] makes one, which passes everything on.
type Line struct {
	// BeforeWrite is called with what the client is about to write; nil is not
	// called. It must be set before the first use of the line.
	BeforeWrite func(sent []byte)

	mu      sync.Mutex
	going   chan struct{} // closed unless the line is paused
	last    net.Conn
	delayed *Delayed
}

// NewLine returns a line that passes everything on.
func NewLine() *Line {
	l := &Line{going: make(chan struct{})}
	close(l.going)
	return l
}

// Option is the option of a connection over the line.
func (l *Line) Option() nats.Option { return nats.SetCustomDialer(l) }

// Cut closes the connection. The client may dial again.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.last.Close()
}

// Pause makes reads and writes wait until [Line.Resume]: for the other side, the
// broker's process is stopped, as by SIGSTOP, or the network drops everything.
func (l *Line) Pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.going = make(chan struct{})
}

// Resume ends a pause.
func (l *Line) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.going)
}

// Wait returns when the line is not paused. A hook of the simulator calls it to pause
// the broker's calls to AWS together with its line.
func (l *Line) Wait() {
	l.mu.Lock()
	going := l.going
	l.mu.Unlock()
	<-going
}

// Delayed is a message that is delayed on its way to NATS.
type Delayed struct {
	// Arrived is closed when the message is delayed.
	Arrived <-chan struct{}

	match   func(subject string, message []byte) bool
	arrived chan struct{}
	release chan struct{}
}

// Release lets the message go on. It must be called once.
func (d *Delayed) Release() { close(d.release) }

// Delay delays the first message that matches until [Delayed.Release]. Everything else
// passes it by. It replaces an earlier delay. message is the whole frame of the NATS
// protocol.
func (l *Line) Delay(match func(subject string, message []byte) bool) *Delayed {
	d := &Delayed{match: match, arrived: make(chan struct{}), release: make(chan struct{})}
	d.Arrived = d.arrived
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delayed = d
	return d
}

// takeDelay returns what delays the frame, and nil if nothing does.
func (l *Line) takeDelay(effect string, frame []byte) *Delayed {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.delayed
	if d == nil || effect == "" || !d.match(effect, frame) {
		return nil
	}
	l.delayed = nil
	return d
}

// Dial dials. It makes Line a dialer of package nats.
func (l *Line) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = c
	return &lineConn{Conn: c, line: l}, nil
}

type lineConn struct {
	net.Conn
	line *Line
	mu   sync.Mutex // of writes to Conn: one frame at a time
	rest []byte     // of a frame that is not complete yet
}

func (c *lineConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.line.Wait()
	return n, err
}

func (c *lineConn) Write(p []byte) (int, error) {
	c.line.Wait()
	if c.line.BeforeWrite != nil {
		c.line.BeforeWrite(p)
	}
	for c.rest = append(c.rest, p...); ; {
		n, effect := parseFrame(c.rest)
		if n == 0 {
			return len(p), nil
		}
		frame := bytes.Clone(c.rest[:n])
		c.rest = c.rest[n:]
		if d := c.line.takeDelay(effect, frame); d != nil {
			close(d.arrived)
			go func() { <-d.release; _ = c.pass(frame) }() // the broker may have ended by then
		} else if err := c.pass(frame); err != nil {
			return 0, err
		}
	}
}

func (c *lineConn) pass(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Conn.Write(frame)
	return err
}

// BrokerOnLine starts a broker whose connection to NATS goes over a line, and returns
// the id of its access key, which no other broker has: a hook of the simulator knows
// the broker's calls by it.
func (w *World) BrokerOnLine(l *Line, change ...func(*consumer.Config)) (b *Broker, keyID string) {
	w.T.Helper()
	keyID, secretKey := w.Sim.AddPrincipal("own")
	return w.BrokerOn(w.Dial(0, l.Option()), append([]func(*consumer.Config){func(c *consumer.Config) {
		c.Provider = w.Provider(keyID, secretKey)
	}}, change...)...), keyID
}

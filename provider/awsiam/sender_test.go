package awsiam

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider"
)

// countingConn counts the writes to a connection.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Headers and body of a call are sent in one packet.
func TestCallIsOneWrite(t *testing.T) {
	b := newFixture(t)
	id, secret := b.AddPrincipal("counted")
	var writes atomic.Int64
	p := New(Options{Endpoint: b.server.URL, Credentials: static(id, secret)})
	p.http = p.http.WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return countingConn{conn, &writes}, err
		}
	})
	b.account = b.connect(p)
	c := b.create()
	if err := b.account.Delete(t.Context(), deletion(c.AccessKeyID)); err != nil {
		t.Fatal(err)
	}
	b.expectGone()
	if calls := int64(len(b.Calls())); writes.Load() != calls {
		t.Errorf("%d calls took %d writes", calls, writes.Load())
	}
}

// failingBody is a body that cannot be read.
type failingBody struct{ closed bool }

func (*failingBody) Read([]byte) (int, error) { return 0, net.ErrClosed }
func (b *failingBody) Close() error           { b.closed = true; return nil }

func TestUnreadableBodyIsNotSent(t *testing.T) {
	body := &failingBody{}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 10
	if _, err := newSender(http.DefaultClient, time.Second).Do(r); err == nil || !body.closed {
		t.Errorf("got %v, closed %v", err, body.closed)
	}
}

// AWS begins an answer and does not complete it.
func TestIncompleteAnswerTimesOut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hang := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("<CreateUserResponse>"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})}
	go func() { _ = hang.Serve(l) }()
	t.Cleanup(func() { _ = hang.Close() })
	p := New(Options{Endpoint: "http://" + l.Addr().String(), Credentials: static("AKIA", "secret"), AttemptTimeout: 30 * time.Millisecond,
		Backoff: func(int) time.Duration { return time.Millisecond }})
	b := &fixture{t: t}
	_, err = b.connect(p).Create(t.Context(), lease())
	expectError(t, err, provider.Unavailable, provider.LeftUnknown)
}

// The body of an answer arrives after its headers.
func TestAnswerMayArriveInParts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	slow := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-read
		_, _ = w.Write([]byte("the rest"))
	})}
	go func() { _ = slow.Serve(l) }()
	t.Cleanup(func() { _ = slow.Close() })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := newSender(httpClient(Options{MaxConns: 1}), 10*time.Second).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	close(read)
	body, err := io.ReadAll(answer.Body)
	if closing := answer.Body.Close(); err != nil || closing != nil || string(body) != "the rest" {
		t.Errorf("%q, %v, %v", body, err, closing)
	}
}

package lessortest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/scheduler"
)

// Broker is a consumer and a scheduler on a connection of their own.
type Broker struct {
	*consumer.Consumer
	Scheduler *scheduler.Scheduler
	Conn      *nats.Conn
	end       sync.Once
}

// Config returns the configuration of a broker on a connection. All its waits are
// short.
func (w *World) Config(nc *nats.Conn) consumer.Config {
	return consumer.Config{
		Conn: nc, Namespace: w.Namespace, Keys: w.Keys, Now: w.Clock.Now, Provider: w.Provider(w.KeyID, w.SecretKey),
		Log:     zerolog.New(w.Logs).Level(zerolog.DebugLevel),
		Workers: consumer.Workers{Request: 16, Renew: 4, Revoke: 16, Confirm: 2},
		Streams: consumer.Streams{AckWait: 500 * time.Millisecond, PullHeartbeat: time.Second}, NoRespondersWait: 100 * time.Millisecond, ProbeEvery: 10 * time.Millisecond,
		RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond,
		MinTTL: messages.Duration(time.Second), Reserve: 1,
	}
}

// Provider returns a provider that reaches the world's account with an access key. It
// repeats a failed call soon.
func (w *World) Provider(keyID, secretKey string, change ...func(*awsiam.Options)) *awsiam.Provider {
	o := awsiam.Options{
		Endpoint: w.AWS.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secretKey, ""),
		Backoff: func(int) time.Duration { return 5 * time.Millisecond },
	}
	for _, f := range change {
		f(&o)
	}
	return awsiam.New(o)
}

// Broker starts a broker. It ends with the test.
func (w *World) Broker(change ...func(*consumer.Config)) *Broker {
	w.T.Helper()
	return w.BrokerOn(w.Connect(), change...)
}

// BrokerOn starts a broker on a connection, which ends with the broker.
func (w *World) BrokerOn(nc *nats.Conn, change ...func(*consumer.Config)) *Broker {
	w.T.Helper()
	b, err := w.TryBroker(nc, change...)
	w.NoError(err)
	return b
}

// TryBroker is [World.BrokerOn] for brokers that may not start. Any goroutine may call
// it.
func (w *World) TryBroker(nc *nats.Conn, change ...func(*consumer.Config)) (*Broker, error) {
	cfg := w.Config(nc)
	sched, err := scheduler.New(scheduler.Config{
		Conn: nc, Namespace: cfg.Namespace, Log: cfg.Log, Now: cfg.Now,
		Tick: 10 * time.Millisecond, RemindAgain: 200 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	cfg.Index = sched
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cons, err := consumer.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := cons.Start(ctx); err != nil {
		return nil, err
	}
	sched.Start()
	b := &Broker{Consumer: cons, Scheduler: sched, Conn: nc}
	w.T.Cleanup(b.Close)
	return b, nil
}

// closePatience is how long [Broker.Close] waits for what is in progress.
const closePatience = 5 * time.Second

// Close stops the broker as its process does when it is told to end.
func (b *Broker) Close() {
	b.end.Do(func() {
		b.Scheduler.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		_ = b.Stop(ctx)
		b.Conn.Close()
	})
}

// Kill ends the broker at once, as SIGKILL ends its process: nothing that it is doing
// reaches NATS any more. Calls to AWS that are under way are not stopped.
func (b *Broker) Kill() {
	b.end.Do(func() {
		b.Conn.Close()
		b.Scheduler.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Stop(ctx)
	})
}

// Health returns what the broker's readiness check reports; nil is well.
func (b *Broker) Health() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return errors.Join(b.Healthy(ctx), b.Scheduler.Healthy())
}

// WaitHealth waits until the broker's health reports these words; "" waits until it
// is well.
func (w *World) WaitHealth(b *Broker, words string) {
	w.T.Helper()
	var last error
	reports := func() bool {
		last = b.Health()
		return words == "" && last == nil || words != "" && last != nil && strings.Contains(last.Error(), words)
	}
	if !until(time.Now().Add(Patience), reports) {
		w.T.Fatalf("the broker's health does not report %q but %v\n%s", words, last, w.Logs)
	}
}

// WaitLoaded waits until the broker's scheduler has loaded all records.
func (w *World) WaitLoaded(b *Broker) {
	w.T.Helper()
	w.Eventually("the scheduler has loaded the records", func() bool { return b.Scheduler.Healthy() == nil })
}

package queue

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
)

// Task is a message that a worker holds. Its handler may set ReplyTo and Log;
// it can't acknowledge the message.
type Task struct {
	Verb       messages.Verb
	Subject    string
	Tokens     []string // of the subject, behind the verb
	Header     nats.Header
	Data       []byte
	Sequence   uint64    // in the verb's stream
	Stored     time.Time // when JetStream stored it
	Deliveries uint64    // how often it was delivered, this time included
	RetryWait  time.Duration

	// ReplyTo is where answers and rejections go; "" is nowhere. The handler sets it
	// once it has checked the header.
	ReplyTo string
	Log     zerolog.Logger
}

// ID names the message in logs and events.
func (t *Task) ID() string { return string(t.Verb) + ":" + strconv.FormatUint(t.Sequence, 10) }

// Redelivered reports whether the message was delivered before. Then what it asks
// for may have been done in part or in full.
func (t *Task) Redelivered() bool { return t.Deliveries > 1 }

func (w *Workers) newTask(msg jetstream.Msg) (*Task, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	t := &Task{
		Verb: w.verb, Subject: msg.Subject(), Tokens: w.cfg.Namespace.Tokens(msg.Subject(), 1), Header: msg.Headers(), Data: msg.Data(),
		Sequence: meta.Sequence.Stream, Stored: meta.Timestamp.UTC(), Deliveries: meta.NumDelivered,
	}
	t.RetryWait = w.cfg.RetryMin
	for n := uint64(1); n < t.Deliveries && t.RetryWait < w.cfg.RetryMax; n++ {
		t.RetryWait *= 2
	}
	t.RetryWait = min(t.RetryWait, w.cfg.RetryMax)
	t.Log = w.log.With().Str("request_id", t.ID()).Logger()
	return t, nil
}

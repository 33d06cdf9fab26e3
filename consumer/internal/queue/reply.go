package queue

import (
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// Replier publishes answers.
type Replier struct{ Conn *nats.Conn }

// Reply publishes an answer. Without a subject it does nothing: the requester does
// not wait for one.
func (r Replier) Reply(subject string, reply messages.Reply) error {
	if subject == "" {
		return nil
	}
	msg, err := ReplyMsg(subject, reply)
	if err != nil {
		return err
	}
	return r.Conn.PublishMsg(msg)
}

// ReplyMsg returns the message of an answer, with the error headers of NATS services
// (ADR-32) where it is an error.
func ReplyMsg(subject string, reply messages.Reply) (*nats.Msg, error) {
	data, err := reply.Encode()
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(subject)
	msg.Data = data
	if e := reply.Error; e != nil {
		msg.Header.Set(messages.HeaderError, string(e.Code)+": "+e.Message)
		msg.Header.Set(messages.HeaderErrorCode, e.Status())
	}
	return msg, nil
}

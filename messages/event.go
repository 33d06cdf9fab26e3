package messages

import (
	"encoding/json"
	"fmt"
	"time"
)

// EventType is what happened, the last token of an event's subject.
type EventType string

// The events.
const (
	EventIssued        EventType = "issued"         // the key exists
	EventConfirmed     EventType = "confirmed"      // the requester has it
	EventUndelivered   EventType = "undelivered"    // nobody has it; it is being revoked
	EventRenewed       EventType = "renewed"        // the end has moved
	EventExpiring      EventType = "expiring"       // the end is near
	EventRevoked       EventType = "revoked"        // key and user are gone
	EventFailed        EventType = "failed"         // it could not be made; nothing is left
	EventRevokeFailed  EventType = "revoke_failed"  // it could not be undone yet; it is tried again
	EventRejected      EventType = "rejected"       // a message that can't be served
	EventOrphanRemoved EventType = "orphan_removed" // a user that no lease knew is gone
	EventCommand       EventType = "command"        // an operator's command
)

// Unknown stands in an event's subject for a token that is not fit to: it is
// itself no valid token.
const Unknown = "~"

// Event is a CloudEvent 1.0 in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). The
// same happening told twice has the same ID.
//
//	{"specversion":"1.0","id":"alice.ci.06ct….1.issued","source":"/lessor/5kf3…",
//	 "type":"lessor.lease.issued","subject":"alice.ci.06ct…","time":"…",
//	 "datacontenttype":"application/json","data":{"lease":{…}}}
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"` // /lessor/<installation>
	Type            string    `json:"type"`   // lessor.lease.<type>, or lessor.admin.command
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            EventData `json:"data"`
}

// EventData is the lease and what is special to the event. There is never a
// secret key in it.
type EventData struct {
	Lease  *Lease `json:"lease,omitempty"`
	Reason Reason `json:"reason,omitempty"` // of revoked and undelivered
	Note   string `json:"note,omitempty"`   // what the person who ended it said
	Verb   Verb   `json:"verb,omitempty"`   // of rejected: what was asked for
	Error  *Error `json:"error,omitempty"`  // of rejected, failed, revoke_failed and command
	// Omitted, of rejected, is how many more messages of this identity a broker has
	// refused since the last event that tells of some, and told nothing of one by one.
	Omitted int      `json:"omitted,omitempty"`
	Command *Command `json:"command,omitempty"` // of command
}

// AdminIdentity stands in the subjects of events in the place of an identity where
// an operator has done something. No requester may be called so.
const AdminIdentity = "_admin"

// Command is what an operator wants.
type Command struct {
	Name string `json:"name"` // the endpoint: secret-put, lease-revoke, sweep, …
	// By is the operator, as NATS enforced it: the token of the subject
	// ([Namespace.AdminAs]). "" is somebody who may publish on lessor.admin.>.
	By      string  `json:"by,omitempty"`
	Outcome Outcome `json:"outcome"`
	// What it is about, as far as it names something that can be.
	Secret   string `json:"secret,omitempty"`
	Lease    string `json:"lease,omitempty"`
	Identity string `json:"identity,omitempty"`
	Force    bool   `json:"force,omitempty"`
	Apply    bool   `json:"apply,omitempty"`
	NoCheck  bool   `json:"no_check,omitempty"`
	Revision uint64 `json:"revision,omitempty"` // of the definition, once it is put
}

// Outcome is how far a command has come.
type Outcome string

// The outcomes. A command that changes something is told twice: an asked that no
// other follows is one whose broker died over it.
const (
	OutcomeAsked   Outcome = "asked"
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // or failed; the event has the error
)

// NewEvent makes an event. The occurrence tells apart events of one type about
// one lease: the attempt, the number of the renewal.
func NewEvent(installation string, subject LeaseName, t EventType, occurrence string, now time.Time, data EventData) Event {
	about := "lessor.lease."
	if t == EventCommand {
		about = "lessor.admin."
	}
	return Event{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s.%s.%s", subject, occurrence, t),
		Source: "/lessor/" + installation, Type: about + string(t), Subject: subject.String(),
		Time: now.UTC(), DataContentType: "application/json", Data: data,
	}
}

// DecodeEvent reads an event.
func DecodeEvent(data []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, Errorf(CodeInvalidRequest, "this is not an event of lessor's").Because(err)
	}
	if e.SpecVersion != "1.0" || e.Type == "" {
		return Event{}, Errorf(CodeInvalidRequest, "this is not an event of lessor's: specversion %q, type %q", Printable(e.SpecVersion), Printable(e.Type))
	}
	return e, nil
}

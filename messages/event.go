package messages

import (
	"encoding/json"
	"fmt"
	"time"
)

// EventType is the type of an event and the last token of its subject.
type EventType string

// The events.
const (
	EventIssued        EventType = "issued"         // the key exists
	EventConfirmed     EventType = "confirmed"      // the requester confirmed the delivery
	EventUndelivered   EventType = "undelivered"    // the delivery failed; the lease is being revoked
	EventRenewed       EventType = "renewed"        // the end of the lease has moved
	EventExpiring      EventType = "expiring"       // the lease ends soon
	EventRevoked       EventType = "revoked"        // access has ended
	EventFailed        EventType = "failed"         // the lease could not be made, and nothing is left in AWS
	EventRevokeFailed  EventType = "revoke_failed"  // the teardown failed and is retried
	EventRejected      EventType = "rejected"       // a message can't be served
	EventOrphanRemoved EventType = "orphan_removed" // a sweep removed a user without a lease
	EventCommand       EventType = "command"        // an operator sent a command
)

// Unknown replaces a token in an event's subject that is not valid. It is not a valid
// token itself.
const Unknown = "~"

// Event is a CloudEvent 1.0 in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). An event that
// is emitted twice has the same ID.
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

// EventData is the lease and the details of an event. It has no secret key.
type EventData struct {
	Lease  *Lease `json:"lease,omitempty"`
	Reason Reason `json:"reason,omitempty"` // of revoked and undelivered
	Note   string `json:"note,omitempty"`   // the reason that came with the revocation
	Verb   Verb   `json:"verb,omitempty"`   // of rejected: the verb of the message
	Error  *Error `json:"error,omitempty"`  // of rejected, failed, revoke_failed and command
	// Omitted, of rejected, is the number of further messages of this identity that
	// the broker has refused without an event since the last one.
	Omitted int      `json:"omitted,omitempty"`
	Command *Command `json:"command,omitempty"` // of command
}

// AdminIdentity takes the place of the identity in the subjects of events about
// operators' commands. No requester may have this name.
const AdminIdentity = "_admin"

// Command is an operator's command, as events report it.
type Command struct {
	Name string `json:"name"` // of the endpoint: secret-put, lease-revoke, sweep, …
	// By is the operator that NATS authenticated: the token of the subject
	// ([Namespace.AdminAs]). It is "" for an operator that may publish on
	// lessor.admin.>.
	By      string  `json:"by,omitempty"`
	Outcome Outcome `json:"outcome"`
	// The fields of the command. Names that are not valid are left out.
	Secret   string `json:"secret,omitempty"`
	Lease    string `json:"lease,omitempty"`
	Identity string `json:"identity,omitempty"`
	Force    bool   `json:"force,omitempty"`
	Apply    bool   `json:"apply,omitempty"`
	NoCheck  bool   `json:"no_check,omitempty"`
	Revision uint64 `json:"revision,omitempty"` // of the definition after a put
}

// Outcome is the progress of a command.
type Outcome string

// The outcomes. A command that changes something has two events. If only the first,
// asked, is there, the broker stopped before the command was complete.
const (
	OutcomeAsked   Outcome = "asked"
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // or failed; the event has the error
)

// NewEvent returns an event about a lease. The occurrence distinguishes events of one
// type about one lease, such as the number of a renewal: an event that is emitted
// again has the same id.
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

// DecodeEvent reads an event. The error is an [Error].
func DecodeEvent(data []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, Errorf(CodeInvalidRequest, "this is not a lessor event").Because(err)
	}
	if e.SpecVersion != "1.0" || e.Type == "" {
		return Event{}, Errorf(CodeInvalidRequest, "this is not a lessor event: specversion %q, type %q", Printable(e.SpecVersion), Printable(e.Type))
	}
	return e, nil
}

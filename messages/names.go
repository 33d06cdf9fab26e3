package messages

import (
	"strings"
)

// DefaultPrefix is the first token of every subject unless another is chosen.
const DefaultPrefix = "lessor"

// Headers that lessor reads or writes. NATS keeps the "Nats-" ones for itself.
const (
	// HeaderReplyTo is where the answer to a message on a stream goes:
	// JetStream takes the message's own reply subject for its acknowledgement
	// and does not store it.
	HeaderReplyTo = "Lessor-Reply-To"
	// HeaderIdempotencyKey makes a request safe to repeat: one key, one lease.
	HeaderIdempotencyKey = "Lessor-Idempotency-Key"
	// HeaderDeadline is the front door's own deadline (RFC 3339) for a request.
	// The earlier of it and the body's deadline counts.
	HeaderDeadline = "Lessor-Deadline"
	// HeaderDue marks a message on a revoke subject as a reminder: look at the
	// lease and do what is due, if anything is. Without it, it is an order.
	HeaderDue = "Lessor-Due"
	// HeaderReason is why a message on a revoke subject ends the lease:
	// [ReasonOperator] or [ReasonSecretDeleted]. Without it the lease's holder
	// wants it to.
	HeaderReason = "Lessor-Reason"
	// HeaderSignature is a broker's signature under an event ([Keyring.SignEvent]).
	HeaderSignature = "Lessor-Signature"
	// HeaderTrace is W3C's trace context, passed on unread.
	HeaderTrace = "traceparent"
	// HeaderError and HeaderErrorCode are the NATS service API's error headers
	// (https://github.com/nats-io/nats-architecture-and-design, ADR-32).
	HeaderError     = "Nats-Service-Error"
	HeaderErrorCode = "Nats-Service-Error-Code"
)

// Namespace names everything that an installation has in NATS. Its zero value
// uses [DefaultPrefix]. For the prefix "lessor":
//
//	stream          subjects                                      consumer
//	LESSOR_REQUEST  lessor.request.<identity>.<secret>            lessor_request
//	LESSOR_RENEW    lessor.renew.<identity>.<secret>.<id>         lessor_renew
//	LESSOR_REVOKE   lessor.revoke.<identity>.<secret>.<id>        lessor_revoke
//	LESSOR_CONFIRM  lessor.confirm.<identity>.<secret>.<id>.<tok> lessor_confirm
//	LESSOR_EVENT    lessor.event.<identity>.<secret>.<id>.<type>
//
//	bucket          key                          what
//	lessor_lease    <identity>.<secret>.<id>     lease records
//	lessor_secret   <secret>                     dynamic secrets
//	lessor_state    installation, key, …         what the installation knows of itself
//
//	service         endpoints
//	lessor          lessor.api.{request,renew,revoke,get,list}.…
//	lessor_admin    lessor.admin.secret.{put,get,list,delete,check,rotate-key}
//	                lessor.admin.lease.{list,retry,revoke}, lessor.admin.{sweep,restore,key},
//	                and all of them as lessor.admin.as.<operator>.…
type Namespace struct {
	prefix string
}

// NewNamespace returns the namespace with the given prefix, one subject token
// ([CheckToken]); "" stands for [DefaultPrefix].
func NewNamespace(prefix string) (Namespace, error) {
	if prefix == "" {
		return Namespace{}, nil
	}
	if err := CheckToken("prefix", prefix); err != nil {
		return Namespace{}, err
	}
	return Namespace{prefix: prefix}, nil
}

// Prefix returns the first token of every subject.
func (n Namespace) Prefix() string {
	if n.prefix == "" {
		return DefaultPrefix
	}
	return n.prefix
}

// Verb is what a message asks for: the second token of its subject.
type Verb string

// The verbs, each with a stream and a durable consumer of its own so that a
// flood of one never delays another.
const (
	VerbRequest Verb = "request"
	VerbRenew   Verb = "renew"
	VerbRevoke  Verb = "revoke"
	VerbConfirm Verb = "confirm"
)

// Stream names the work queue of a verb.
func (n Namespace) Stream(v Verb) string {
	return strings.ToUpper(n.Prefix() + "_" + string(v))
}

// Consumer names the durable pull consumer of a verb.
func (n Namespace) Consumer(v Verb) string { return n.Prefix() + "_" + string(v) }

// EventStream names the stream that keeps the events.
func (n Namespace) EventStream() string { return strings.ToUpper(n.Prefix() + "_EVENT") }

// LeaseBucket names the KV bucket of the lease records.
func (n Namespace) LeaseBucket() string { return n.Prefix() + "_lease" }

// SecretBucket names the KV bucket of the dynamic secrets.
func (n Namespace) SecretBucket() string { return n.Prefix() + "_secret" }

// StateBucket names the KV bucket of what the installation knows of itself: its
// id and its connections.
func (n Namespace) StateBucket() string { return n.Prefix() + "_state" }

// Service names the NATS micro service that is the front door.
func (n Namespace) Service() string { return n.Prefix() }

// VerbFilter is the subject filter that a verb's stream listens on.
func (n Namespace) VerbFilter(v Verb) string {
	tokens := map[Verb]string{VerbRequest: "*.*", VerbRenew: "*.*.*", VerbRevoke: "*.*.*", VerbConfirm: "*.*.*.*"}
	return n.join(string(v), tokens[v])
}

// EventFilter is the subject filter that the event stream listens on.
func (n Namespace) EventFilter() string { return n.join("event", "*.*.*.*") }

// Request is the subject on which identity asks for a lease of secret.
func (n Namespace) Request(identity, secret string) string {
	return n.join(string(VerbRequest), identity, secret)
}

// Renew is the subject on which a lease is renewed.
func (n Namespace) Renew(l LeaseName) string { return n.join(string(VerbRenew), l.String()) }

// Revoke is the subject on which a lease is revoked.
func (n Namespace) Revoke(l LeaseName) string { return n.join(string(VerbRevoke), l.String()) }

// Confirm is the reply subject of a delivery: any message on it says "I have the
// key". The token is the broker's own proof that it made the subject.
func (n Namespace) Confirm(l LeaseName, token string) string {
	return n.join(string(VerbConfirm), l.String(), token)
}

// Event is the subject of an event about a lease.
func (n Namespace) Event(l LeaseName, t EventType) string {
	return n.join("event", l.String(), string(t))
}

// API is the front door's subject for a verb and the tokens behind it, for
// instance API("request", identity, secret) or API("list", identity).
func (n Namespace) API(verb string, tokens ...string) string {
	return n.join(append([]string{"api", verb}, tokens...)...)
}

// Deliver is a prefix of subjects that an identity may name for its replies
// beside its inboxes.
func (n Namespace) Deliver(identity string) string { return n.join("deliver", identity) }

// Tokens returns the tokens of subject behind "<prefix>.<skip tokens>", that is
// for skip 1 those behind lessor.<verb>.
func (n Namespace) Tokens(subject string, skip int) []string {
	t := strings.Split(subject, ".")
	if len(t) <= 1+skip {
		return nil
	}
	return t[1+skip:]
}

func (n Namespace) join(tokens ...string) string {
	return n.Prefix() + "." + strings.Join(tokens, ".")
}

// CheckReply says whether the broker may publish an answer for identity on
// subject. Requesters choose the subject and the broker publishes with its own
// authority, so only inboxes (_INBOX., _INBOX_<identity>.), the server's own
// mapping of service imports (_R_.) and <prefix>.deliver.<identity>. will do.
func (n Namespace) CheckReply(identity, subject string) error {
	if subject == "" {
		return Errorf(CodeInvalidReply, "no reply subject: nobody could receive the answer; use a NATS request, or set the header %s", HeaderReplyTo)
	}
	inbox, deliver := "_INBOX_"+identity+".", n.Deliver(identity)+"."
	return checkReply(subject, "_INBOX., "+inbox+", _R_. or "+deliver, "_INBOX.", inbox, "_R_.", deliver)
}

// checkReply says whether a subject can be published to and begins with one of the
// prefixes, with something behind it. Allowed is how the error names them.
func checkReply(subject, allowed string, prefixes ...string) error {
	if len(subject) > maxSubject {
		return Errorf(CodeInvalidReply, "the reply subject has %d characters, the limit is %d", len(subject), maxSubject)
	}
	if !publishable(subject) {
		return Errorf(CodeInvalidReply, "the reply subject is not one that can be published to")
	}
	for _, p := range prefixes {
		if strings.HasPrefix(subject, p) && len(subject) > len(p) {
			return nil
		}
	}
	return Errorf(CodeInvalidReply, "the reply subject must begin with %s", allowed)
}

// CheckAdminReply says whether the broker may answer an operator on subject:
// inboxes (_INBOX., _INBOX_<name>.) and the server's own mapping of service imports
// (_R_.) will do.
func (n Namespace) CheckAdminReply(subject string) error {
	if subject == "" {
		return Errorf(CodeInvalidReply, "no reply subject: nobody could receive the answer; use a NATS request")
	}
	prefixes := []string{"_INBOX.", "_R_."}
	if rest, ok := strings.CutPrefix(subject, "_INBOX_"); ok {
		if name, _, _ := strings.Cut(rest, "."); CheckToken("name", strings.ToLower(name)) == nil {
			prefixes = append(prefixes, "_INBOX_"+name+".")
		}
	}
	return checkReply(subject, "_INBOX., _INBOX_<name>. or _R_.", prefixes...)
}

// maxSubject is the longest reply subject accepted, in bytes.
const maxSubject = 512

func publishable(subject string) bool {
	for _, t := range strings.Split(subject, ".") {
		if t == "" || t == "*" || t == ">" {
			return false
		}
		for i := range len(t) {
			if t[i] <= ' ' || t[i] >= 0x7f {
				return false
			}
		}
	}
	return true
}

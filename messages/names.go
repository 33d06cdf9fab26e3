package messages

import "strings"

// DefaultPrefix is the first token of every subject if no other is configured.
const DefaultPrefix = "lessor"

// Headers that lessor reads or writes. NATS reserves headers that begin with "Nats-".
const (
	// HeaderReplyTo is the reply subject of a message on a stream. JetStream uses the
	// message's own reply subject for its acknowledgement and does not store it.
	HeaderReplyTo = "Lessor-Reply-To"
	// HeaderIdempotencyKey makes a request safe to repeat: one key, one lease.
	HeaderIdempotencyKey = "Lessor-Idempotency-Key"
	// HeaderDeadline is the deadline of an API request (RFC 3339). The earlier of it
	// and the body's deadline counts.
	HeaderDeadline = "Lessor-Deadline"
	// HeaderDue marks a message on a revoke subject as a reminder by the scheduler:
	// the worker does what is due about the lease. Without it the message is a command.
	HeaderDue = "Lessor-Due"
	// HeaderReason is why a command on a revoke subject ends the lease:
	// [ReasonOperator] or [ReasonSecretDeleted]. Without it the reason is
	// [ReasonRequested].
	HeaderReason = "Lessor-Reason"
	// HeaderSignature is the broker's signature of an event ([Keyring.SignEvent]).
	HeaderSignature = "Lessor-Signature"
	// HeaderTrace is the W3C trace context, passed on unchanged.
	HeaderTrace = "traceparent"
	// HeaderError and HeaderErrorCode are the error headers of NATS micro services
	// (https://github.com/nats-io/nats-architecture-and-design, ADR-32).
	HeaderError     = "Nats-Service-Error"
	HeaderErrorCode = "Nats-Service-Error-Code"
)

// Namespace names the subjects, streams, consumers, buckets and services of an
// installation. Its zero value uses [DefaultPrefix]. With the prefix "lessor":
//
//	stream          subjects                                      consumer
//	LESSOR_REQUEST  lessor.request.<identity>.<secret>            lessor_request
//	LESSOR_RENEW    lessor.renew.<identity>.<secret>.<id>         lessor_renew
//	LESSOR_REVOKE   lessor.revoke.<identity>.<secret>.<id>        lessor_revoke
//	LESSOR_CONFIRM  lessor.confirm.<identity>.<secret>.<id>.<tok> lessor_confirm
//	LESSOR_EVENT    lessor.event.<identity>.<secret>.<id>.<type>
//
//	bucket          key                          content
//	lessor_lease    <identity>.<secret>.<id>     lease records
//	lessor_secret   <secret>                     dynamic secrets
//	lessor_state    installation, key, …         state of the installation
//
//	service         endpoints
//	lessor          lessor.api.{request,renew,revoke,get,list}.…
//	lessor_admin    lessor.admin.secret.{put,get,list,delete,check,rotate-key}
//	                lessor.admin.lease.{list,retry,revoke}, lessor.admin.{sweep,restore,key},
//	                and all of them as lessor.admin.as.<operator>.…
type Namespace struct {
	prefix string
}

// NewNamespace returns the namespace with the given prefix; "" is [DefaultPrefix]. It
// returns an [Error] if the prefix is not a token ([CheckToken]).
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

// Verb is the kind of a message and the second token of its subject.
type Verb string

// The verbs. Each has its own stream and durable consumer, so that many messages of
// one verb do not delay another.
const (
	VerbRequest Verb = "request"
	VerbRenew   Verb = "renew"
	VerbRevoke  Verb = "revoke"
	VerbConfirm Verb = "confirm"
)

// Stream returns the name of a verb's work-queue stream.
func (n Namespace) Stream(v Verb) string {
	return strings.ToUpper(n.Prefix() + "_" + string(v))
}

// Consumer returns the name of a verb's durable pull consumer.
func (n Namespace) Consumer(v Verb) string { return n.Prefix() + "_" + string(v) }

// EventStream returns the name of the stream of events.
func (n Namespace) EventStream() string { return strings.ToUpper(n.Prefix() + "_EVENT") }

// LeaseBucket returns the name of the KV bucket of lease records.
func (n Namespace) LeaseBucket() string { return n.Prefix() + "_lease" }

// SecretBucket returns the name of the KV bucket of dynamic secrets.
func (n Namespace) SecretBucket() string { return n.Prefix() + "_secret" }

// StateBucket returns the name of the KV bucket of the installation's state: its id,
// its connections, audit marks.
func (n Namespace) StateBucket() string { return n.Prefix() + "_state" }

// Service returns the name of the NATS micro service for requesters, the API.
func (n Namespace) Service() string { return n.Prefix() }

// VerbFilter returns the subject filter of a verb's stream.
func (n Namespace) VerbFilter(v Verb) string {
	tokens := map[Verb]string{VerbRequest: "*.*", VerbRenew: "*.*.*", VerbRevoke: "*.*.*", VerbConfirm: "*.*.*.*"}
	return n.join(string(v), tokens[v])
}

// EventFilter returns the subject filter of the event stream.
func (n Namespace) EventFilter() string { return n.join("event", "*.*.*.*") }

// Request returns the subject on which an identity requests a lease of a secret.
func (n Namespace) Request(identity, secret string) string {
	return n.join(string(VerbRequest), identity, secret)
}

// Renew returns the subject on which a lease is renewed.
func (n Namespace) Renew(l LeaseName) string { return n.join(string(VerbRenew), l.String()) }

// Revoke returns the subject on which a lease is revoked.
func (n Namespace) Revoke(l LeaseName) string { return n.join(string(VerbRevoke), l.String()) }

// Confirm returns the reply subject of a delivery. Any message on it confirms that the
// requester has the key. The token is [Keyring.ConfirmToken].
func (n Namespace) Confirm(l LeaseName, token string) string {
	return n.join(string(VerbConfirm), l.String(), token)
}

// Event returns the subject of an event about a lease.
func (n Namespace) Event(l LeaseName, t EventType) string {
	return n.join("event", l.String(), string(t))
}

// API returns an API subject, such as API("request", identity, secret) or
// API("list", identity).
func (n Namespace) API(verb string, tokens ...string) string {
	return n.join(append([]string{"api", verb}, tokens...)...)
}

// Deliver returns the prefix of the subjects that an identity may use for replies
// besides its inboxes.
func (n Namespace) Deliver(identity string) string { return n.join("deliver", identity) }

// Tokens returns the tokens of subject after the prefix and skip more tokens: with
// skip 1, those after lessor.<verb>. It returns nil if there are none.
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

// CheckReply returns an [Error] unless the broker may publish replies to identity on
// subject. Requesters choose the subject and the broker publishes with its own
// permissions. So only inboxes (_INBOX., _INBOX_<identity>.), the server's mapping of
// service imports (_R_.) and <prefix>.deliver.<identity>. are allowed.
func (n Namespace) CheckReply(identity, subject string) error {
	if subject == "" {
		return Errorf(CodeInvalidReply, "no reply subject for the answer; use a NATS request, or set the header %s", HeaderReplyTo)
	}
	inbox, deliver := "_INBOX_"+identity+".", n.Deliver(identity)+"."
	return checkReply(subject, "_INBOX., "+inbox+", _R_. or "+deliver, "_INBOX.", inbox, "_R_.", deliver)
}

// checkReply returns an error unless subject can be published to and is longer than one
// of the prefixes that it begins with. allowed is the text of the prefixes in the error.
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

// CheckAdminReply returns an [Error] unless the broker may publish replies to an
// operator on subject: inboxes (_INBOX., _INBOX_<name>.) and the server's mapping of
// service imports (_R_.) are allowed.
func (n Namespace) CheckAdminReply(subject string) error {
	if subject == "" {
		return Errorf(CodeInvalidReply, "no reply subject for the answer; use a NATS request")
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

// publishable reports whether subject is a literal subject of printable ASCII.
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

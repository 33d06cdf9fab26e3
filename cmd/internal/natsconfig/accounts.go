package natsconfig

import (
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// The NATS accounts beside the requesters', each of which has its requester's name.
// No requester can have one of these: theirs are in lower case.
const (
	brokerAccount  = "LESSOR"
	auditorAccount = "AUDITORS"
	systemAccount  = "SYS"
)

// operatorAccount is the account of an operator. Each has its own, which imports what
// is asked under the operator's name: the events tell the name.
func operatorAccount(name string) string { return "OPERATOR_" + name }

// systemUser is the one user of the system account.
const systemUser = "sys"

// Account is an account of the NATS servers. All of its users have one role.
type Account struct {
	name, role string
	users      []string
	// may is what a user may, who has this name. nil: everything.
	may              func(name string) Permissions
	jetStream        bool
	limits           Limits // zero: none
	exports, imports []Share
}

// Permissions are what a user may publish and subscribe to, and nothing else.
type Permissions struct {
	publish, subscribe []string
	// answers is how many messages, and for how long, may be published to the
	// reply subject of a message that was received. Zero: none.
	answers int
	within  time.Duration
}

// Limits bound what an account may take of a server. Leaf nodes are not let in.
type Limits struct {
	connections, subscriptions, payload int64
}

// Share is what an account exports to some others, or imports from another.
type Share struct {
	kind    shareKind
	subject string
	with    []string // accounts: who may import, or whose it is
	to      string   // the importer's subject for it; "": the same
	// many says that a request to a service may be answered more than once.
	many bool
}

type shareKind string

// The kinds of what is shared.
const (
	service shareKind = "service" // requests of the importer, answered by the exporter
	stream  shareKind = "stream"  // messages of the exporter
)

// requesterLimits hold for each requester's account: a message of the longest body
// with its headers, and connections for a job on many machines.
var requesterLimits = Limits{connections: 256, subscriptions: 4096, payload: messages.MaxBody + 16<<10}

// officeLimits hold for operators and auditors. The longest message puts a
// definition.
var officeLimits = Limits{connections: 64, subscriptions: 1024, payload: messages.MaxSecretBody + 16<<10}

// Accounts are the accounts for these people, in an order of their own.
//
// Nobody but brokers has a right inside the brokers' account, because there a right
// to publish is one to have the server publish: it answers on the reply subject that
// a message names, and a consumer delivers to any subject, with its own authority.
func (p Identities) Accounts() ([]Account, error) {
	n, err := messages.NewNamespace(p.Prefix)
	if err != nil {
		return nil, err
	}
	brokers := Account{
		name: brokerAccount, role: "broker", users: slices.Sorted(slices.Values(p.Brokers)), jetStream: true,
		may: func(name string) Permissions { return brokerMay(n, name) },
	}
	var others []Account
	for name := range p.Requesters {
		others = append(others, Account{
			name: name, role: "requester", users: []string{name}, limits: requesterLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish: requesterAsks(n, user, p.Requesters[name]), subscribe: inbox(user),
					answers: 1, within: 2 * time.Minute, // confirmations
				}
			},
			imports: imported(service, requesterAsks(n, name, p.Requesters[name])),
		})
	}
	slices.SortFunc(others, func(a, b Account) int { return strings.Compare(a.name, b.name) })
	history := Share{kind: service, subject: eventHistory(n), with: []string{brokerAccount}, many: true}
	live := Share{kind: stream, subject: n.EventFilter(), with: []string{brokerAccount}}
	for _, name := range slices.Sorted(slices.Values(p.Operators)) {
		others = append(others, Account{
			name: operatorAccount(name), role: "operator", users: []string{name}, limits: officeLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish:   []string{operatorAsks(n, user), eventHistory(n)},
					subscribe: append(inbox(user), n.EventFilter()),
				}
			},
			imports: append(imported(service, []string{operatorAsks(n, name)}), history, live),
		})
	}
	if len(p.Auditors) > 0 {
		audits := verifies(n)
		others = append(others, Account{
			name: auditorAccount, role: "auditor", users: slices.Sorted(slices.Values(p.Auditors)), limits: officeLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish:   append(locals(audits), eventHistory(n)),
					subscribe: append(inbox(user), n.EventFilter()),
				}
			},
			imports: append(audits, history, live),
		})
	}
	for _, a := range others {
		brokers.export(a)
	}
	system := Account{name: systemAccount, role: "system", users: []string{systemUser}}
	return append([]Account{brokers}, append(others, system)...), nil
}

// export shares with an account what it imports, and with nobody else.
func (a *Account) export(to Account) {
	for _, i := range to.imports {
		at := slices.IndexFunc(a.exports, func(e Share) bool { return e.kind == i.kind && e.subject == i.subject })
		if at < 0 {
			i.with, i.to = nil, ""
			a.exports = append(a.exports, i)
			at = len(a.exports) - 1
		}
		if e := &a.exports[at]; !slices.Contains(e.with, to.name) {
			e.with = append(e.with, to.name)
		}
	}
}

func imported(kind shareKind, subjects []string) []Share {
	var all []Share
	for _, s := range subjects {
		all = append(all, Share{kind: kind, subject: s, with: []string{brokerAccount}})
	}
	return all
}

// inbox are the subjects on which a user has its answers. The prefix is its own: in
// the one that all users have, each would see the others'.
func inbox(name string) []string { return []string{"_INBOX_" + name + ".>"} }

// requesterAsks are the front door's subjects for an identity. What it may not lease
// any more it may still give back.
func requesterAsks(n messages.Namespace, identity string, secrets []string) []string {
	var all []string
	for _, s := range secrets {
		all = append(all, n.API("request", identity, s), n.API("renew", identity, s, "*"))
	}
	return append(all, n.API("revoke", identity, "*", "*"), n.API("get", identity, "*", "*"), n.API("list", identity))
}

// operatorAsks are the admin service's subjects for an operator of this name.
func operatorAsks(n messages.Namespace, name string) string { return n.AdminAs(name, ">") }

// verifies is what verifying the events takes: reading them, how far the stream is, and
// the brokers' marks, which are in the state bucket. They are imported as another
// JetStream domain: on JetStream's own subjects the server answers each account itself.
func verifies(n messages.Namespace) []Share {
	history := imported(service, []string{eventHistory(n)})
	history[0].many = true
	all := append(imported(service, append([]string{"$JS.API.STREAM.INFO." + n.EventStream()}, read(n.StateBucket())...)), history...)
	for i := range all {
		all[i].to = "$JS." + n.Prefix() + ".API." + strings.TrimPrefix(all[i].subject, "$JS.API.")
	}
	return all
}

// locals are the importer's subjects of what it imports as something else.
func locals(shares []Share) []string {
	var all []string
	for _, s := range shares {
		all = append(all, s.to)
	}
	return all
}

// adminSubjects are the admin service's subjects for an operator of no name.
func adminSubjects(n messages.Namespace) []string {
	var all []string
	for _, v := range []messages.AdminVerb{
		messages.AdminPut, messages.AdminGet, messages.AdminList, messages.AdminDelete, messages.AdminCheck, messages.AdminRotateKey,
	} {
		all = append(all, n.AdminSecret(v))
	}
	for _, v := range []messages.AdminVerb{messages.AdminLeaseList, messages.AdminLeaseRetry, messages.AdminLeaseRevoke} {
		all = append(all, n.AdminLease(v))
	}
	return append(all, n.AdminSweep(), n.AdminRestore(), n.AdminKey())
}

// eventHistory is the subject on which the stream of events is read, message by
// message. Unlike a consumer it delivers nowhere but to the reply subject, which is
// the reader's own where the reader comes by a service import.
func eventHistory(n messages.Namespace) string { return "$JS.API.DIRECT.GET." + n.EventStream() }

// Package natsconfig makes the configuration of NATS servers from a list of identities: an
// account for the brokers, one for auditors, and one for each operator and each requester,
// with the least permissions that work.
//
// [ParseIdentities] reads the list and [Identities.Accounts] makes the accounts of it.
// [WriteStatic] and [WriteJWT] write a folder with the configuration, and the keys of its
// users.
package natsconfig

import (
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// The NATS accounts that are not a requester's. A requester's account has the requester's
// name, which is in lower case and so can't be one of these.
const (
	brokerAccount  = "LESSOR"
	auditorAccount = "AUDITORS"
	systemAccount  = "SYS"
)

// operatorAccount returns the name of an operator's account. Each operator has one, which
// imports the admin subjects under the operator's name: events contain that name.
func operatorAccount(name string) string { return "OPERATOR_" + name }

// systemUser is the only user of the system account.
const systemUser = "sys"

// Account is a NATS account. All of its users have the same role.
type Account struct {
	name, role string
	users      []string
	// may returns the permissions of the user with this name; nil: the users may do
	// everything.
	may              func(name string) Permissions
	jetStream        bool
	limits           Limits // zero: no limits
	exports, imports []Share
}

// Permissions are the only subjects that a user may publish and subscribe to.
type Permissions struct {
	publish, subscribe []string
	// answers is how many messages the user may publish to the reply subject of a message
	// that it received, and within is for how long. 0: none.
	answers int
	within  time.Duration
}

// Limits bound an account's use of a server. Leaf nodes are not allowed.
type Limits struct {
	connections, subscriptions, payload int64
}

// Share is an export of an account to some others, or an import from another.
type Share struct {
	kind    shareKind
	subject string
	with    []string // the accounts that may import it, or the exporting account
	to      string   // the importer's local subject; "": the same
	// many allows more than one reply to a request to a service.
	many bool
}

type shareKind string

// The kinds of shares.
const (
	service shareKind = "service" // requests of the importer, answered by the exporter
	stream  shareKind = "stream"  // messages of the exporter
)

// requesterLimits are the limits of a requester's account: payloads of the longest request
// body with its headers, and connections for a job on many machines.
var requesterLimits = Limits{connections: 256, subscriptions: 4096, payload: messages.MaxBody + 16<<10}

// operatorLimits are the limits of the accounts of operators and auditors. The longest
// payload is a definition.
var operatorLimits = Limits{connections: 64, subscriptions: 1024, payload: messages.MaxSecretBody + 16<<10}

// Accounts returns the NATS accounts of these identities, in a fixed order.
//
// Only brokers have permissions in the brokers' account. A permission to publish there lets
// a user make the server publish on any subject with the server's authority: the server
// replies on the reply subject of a message, and a consumer delivers to any subject.
func (p Identities) Accounts() ([]Account, error) {
	n, err := messages.NewNamespace(p.Prefix)
	if err != nil {
		return nil, err
	}
	brokers := Account{
		name: brokerAccount, role: "broker", users: slices.Sorted(slices.Values(p.Brokers)), jetStream: true,
		may: func(name string) Permissions { return brokerPermissions(n, name) },
	}
	var others []Account
	for name := range p.Requesters {
		others = append(others, Account{
			name: name, role: "requester", users: []string{name}, limits: requesterLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish: requesterSubjects(n, user, p.Requesters[name]), subscribe: inbox(user),
					answers: 1, within: 2 * time.Minute, // confirmations
				}
			},
			imports: imported(service, requesterSubjects(n, name, p.Requesters[name])),
		})
	}
	slices.SortFunc(others, func(a, b Account) int { return strings.Compare(a.name, b.name) })
	history := Share{kind: service, subject: eventHistory(n), with: []string{brokerAccount}, many: true}
	live := Share{kind: stream, subject: n.EventFilter(), with: []string{brokerAccount}}
	for _, name := range slices.Sorted(slices.Values(p.Operators)) {
		others = append(others, Account{
			name: operatorAccount(name), role: "operator", users: []string{name}, limits: operatorLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish:   []string{operatorSubjects(n, user), eventHistory(n)},
					subscribe: append(inbox(user), n.EventFilter()),
				}
			},
			imports: append(imported(service, []string{operatorSubjects(n, name)}), history, live),
		})
	}
	if len(p.Auditors) > 0 {
		audits := auditImports(n)
		others = append(others, Account{
			name: auditorAccount, role: "auditor", users: slices.Sorted(slices.Values(p.Auditors)), limits: operatorLimits,
			may: func(user string) Permissions {
				return Permissions{
					publish:   append(localSubjects(audits), eventHistory(n)),
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

// export exports to an account what the account imports.
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

// imported returns imports of these subjects from the brokers' account.
func imported(kind shareKind, subjects []string) []Share {
	var all []Share
	for _, s := range subjects {
		all = append(all, Share{kind: kind, subject: s, with: []string{brokerAccount}})
	}
	return all
}

// inbox returns the subjects on which a user receives replies. Each user has a prefix of
// its own: with the common prefix users could read the replies to each other.
func inbox(name string) []string { return []string{"_INBOX_" + name + ".>"} }

// requesterSubjects returns the API subjects of an identity. An identity may revoke and
// read leases also of secrets that it may not lease any more.
func requesterSubjects(n messages.Namespace, identity string, secrets []string) []string {
	var all []string
	for _, s := range secrets {
		all = append(all, n.API("request", identity, s), n.API("renew", identity, s, "*"))
	}
	return append(all, n.API("revoke", identity, "*", "*"), n.API("get", identity, "*", "*"), n.API("list", identity))
}

// operatorSubjects returns the admin subjects of the operator with this name.
func operatorSubjects(n messages.Namespace, name string) string { return n.AdminAs(name, ">") }

// auditImports returns the imports for the verification of events: of the events, of the
// state of their stream, and of the brokers' marks in the state bucket. They are imported
// as another JetStream domain, since on JetStream's own subjects the server answers each
// account itself.
func auditImports(n messages.Namespace) []Share {
	history := imported(service, []string{eventHistory(n)})
	history[0].many = true
	all := append(imported(service, append([]string{"$JS.API.STREAM.INFO." + n.EventStream()}, readSubjects(n.StateBucket())...)), history...)
	for i := range all {
		all[i].to = "$JS." + n.Prefix() + ".API." + strings.TrimPrefix(all[i].subject, "$JS.API.")
	}
	return all
}

// localSubjects returns the importer's local subjects of shares.
func localSubjects(shares []Share) []string {
	var all []string
	for _, s := range shares {
		all = append(all, s.to)
	}
	return all
}

// adminSubjects returns the admin subjects without an operator's name.
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

// eventHistory returns the subject on which the event stream is read, message by message.
// Unlike a consumer, a direct get delivers only to the reply subject, which belongs to the
// reader if it uses a service import.
func eventHistory(n messages.Namespace) string { return "$JS.API.DIRECT.GET." + n.EventStream() }

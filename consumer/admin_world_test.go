package consumer_test

import (
	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// adminSecret asks the admin service about a dynamic secret and returns its answer.
func (w *world) adminSecret(verb messages.AdminVerb, body string) messages.Reply {
	w.T.Helper()
	return w.Operate(w.Namespace.AdminSecret(verb), body)
}

// adminLease asks the admin service about leases and returns its answer.
func (w *world) adminLease(verb messages.AdminVerb, body string) messages.Reply {
	w.T.Helper()
	return w.Operate(w.Namespace.AdminLease(verb), body)
}

// startAdmin asks the admin service about a dynamic secret, and returns where the
// answer arrives.
func (w *world) startAdmin(verb messages.AdminVerb, body string) *nats.Subscription {
	w.T.Helper()
	inbox := w.Conn.NewInbox()
	sub, err := w.Conn.SubscribeSync(inbox)
	w.NoError(err)
	w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(verb), inbox, []byte(body)))
	return sub
}

// putBody is the body of a request to store a definition; more are further fields.
func putBody(definition, more string) string { return `{"definition":` + definition + more + `}` }

// storeSecret stores a definition as an operator does, without a dry run.
func (w *world) storeSecret(definition string) *messages.SecretInfo {
	w.T.Helper()
	r := w.adminSecret(messages.AdminPut, putBody(definition, `,"no_check":true`))
	if r.Kind != messages.KindSecret {
		w.T.Fatalf("not stored: %v", r.Error)
	}
	return r.Secret
}

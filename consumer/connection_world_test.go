package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// keyed is a definition with an access key of the managing user.
func keyed(name, keyID, secret string) string {
	if secret != "" {
		secret = `,"secret_access_key":"` + secret + `"`
	}
	return fmt.Sprintf(`{"name":%q,"aws":{"groups":["deployers"],"auth":{"method":"access_key","access_key_id":%q%s}}}`, name, keyID, secret)
}

// west is a definition like [keyed] for another region: another connection of the same
// user.
func west(name, keyID, secret string) string {
	return strings.Replace(keyed(name, keyID, secret), `"auth"`, `"region":"us-west-2","auth"`, 1)
}

// manager adds the user whose access key definitions have.
func (w *world) manager() (keyID, secret string) {
	w.T.Helper()
	return w.Sim.AddPrincipal("manager")
}

// managerKeys returns the ids of the managing user's keys.
func (w *world) managerKeys() []string {
	u, _ := w.Sim.User("manager")
	var ids []string
	for _, k := range u.AccessKeys {
		ids = append(ids, k.ID)
	}
	return ids
}

// signedBy counts the successful calls of an action by the key that they were signed
// with.
func (w *world) signedBy(action string) map[string]int {
	keys := map[string]int{}
	for _, c := range w.Sim.Calls() {
		if c.Action == action && c.Code == "" {
			keys[c.AccessKeyID]++
		}
	}
	return keys
}

// leaseSoon is Lease for a lease that must be issued soon: a broker without a valid key
// retries for long.
func (w *world) leaseSoon(secret string) messages.Reply {
	w.T.Helper()
	msg, err := w.Publish(w.Namespace.Request("alice", secret), "{}").NextMsg(10 * time.Second)
	if err != nil {
		w.T.Fatalf("no lease of %s: %v, keys %v\n%s", secret, err, w.managerKeys(), w.Logs)
	}
	r, err := messages.DecodeReply(msg.Data)
	w.NoError(err)
	w.WantKind(r, messages.KindCredentials)
	return r
}

// storedConnection returns what the state bucket has of a definition's connection.
func (w *world) storedConnection(secret string) string {
	w.T.Helper()
	name := w.adminSecret(messages.AdminGet, `{"name":"`+secret+`"}`).Secret.Connection.Name
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	e, err := kv.Get(w.Context(), "connection."+name)
	if err != nil {
		return ""
	}
	return string(e.Value())
}

// changeConnection changes a stored connection, as another broker would.
func (w *world) changeConnection(secret string, change func(connection map[string]any)) {
	w.T.Helper()
	name, c := "connection."+w.adminSecret(messages.AdminGet, `{"name":"`+secret+`"}`).Secret.Connection.Name, map[string]any{}
	w.NoError(json.Unmarshal([]byte(w.storedConnection(secret)), &c))
	change(c)
	kv, err := w.JS.KeyValue(w.Context(), w.Namespace.StateBucket())
	w.NoError(err)
	_, err = kv.PutString(w.Context(), name, mustJSON(c))
	w.NoError(err)
}

// refuseNewKeys makes AWS never accept another key of the managing user.
func refuseNewKeys(keyID string, w *world) func(context.Context, iamsim.Call) iamsim.Verdict {
	return func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.AccessKeyID != keyID && c.AccessKeyID != w.KeyID && c.Action == "GetCallerIdentity" {
			return iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "InvalidClientTokenId"}
		}
		return iamsim.Verdict{}
	}
}

// isAboutItself reports whether a call is about the caller's own access keys.
func isAboutItself(c iamsim.Call, action string) bool {
	return c.Action == action && c.Params.Get("UserName") == ""
}

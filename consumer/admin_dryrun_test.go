package consumer_test

import (
	"strings"
	"testing"

	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
)

// limitedManager adds the managing user with the rights that a definition needs, except
// for some actions.
func (w *world) limitedManager(document string, less ...string) (keyID, secret string) {
	w.T.Helper()
	d, err := messages.DecodeDynamicSecret([]byte(document))
	w.NoError(err)
	policy, err := definition.Permissions(d, definition.PermissionOptions{Account: "123456789012"})
	w.NoError(err)
	text := string(policy)
	for _, action := range less {
		if !strings.Contains(text, `"`+action+`"`) {
			w.T.Fatalf("%s is not in %s", action, text)
		}
		text = strings.ReplaceAll(text, `"`+action+`"`, `"iam:GetAccountSummary"`)
	}
	return w.Sim.AddPrincipalWithPolicy("manager", text)
}

func TestDryRunSucceedsWithTheGeneratedPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.limitedManager(lessortest.Secret)
	d := strings.Replace(lessortest.Secret, `"aws":{`, `"aws":{"auth":{"method":"access_key","access_key_id":"`+keyID+`","secret_access_key":"`+secret+`"},`, 1)
	r := w.adminSecret(messages.AdminPut, putBody(d, ""))
	if r.Kind != messages.KindSecret || r.Check == nil || !r.Check.OK || len(r.Check.Calls) < 10 {
		t.Fatalf("%+v %v", r.Check, r.Error)
	}
	if c := r.Check.Connection; c.Account != "123456789012" || !strings.HasSuffix(c.ARN, "user/manager") {
		t.Fatalf("%+v", c)
	}
	r = w.adminSecret(messages.AdminCheck, `{"name":"ci"}`)
	if r.Kind != messages.KindCheck || !r.Check.OK {
		t.Fatalf("%+v %v", r.Check, r.Error)
	}
	w.WaitNoUsers()
	for _, rec := range w.Records() {
		if rec.State != messages.StateRevoked || rec.Reason != messages.ReasonChecked {
			t.Fatalf("%+v", rec)
		}
	}
	w.Lease("ci", "{}")
}

func TestDryRunNamesDeniedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.limitedManager(lessortest.Secret, "iam:AttachUserPolicy", "iam:ListSSHPublicKeys")
	d := strings.Replace(lessortest.Secret, `"aws":{`, `"aws":{"auth":{"method":"access_key","access_key_id":"`+keyID+`","secret_access_key":"`+secret+`"},`, 1)
	r := w.adminSecret(messages.AdminPut, putBody(d, ""))
	if r.Kind != messages.KindError || r.Error.Code != messages.CodeCheckFailed || r.Check == nil || r.Check.OK {
		t.Fatalf("%+v %v", r.Check, r.Error)
	}
	denied := map[string]string{}
	for _, c := range r.Check.Calls {
		if !c.OK {
			denied[c.Action] = c.Resource
		}
	}
	if len(denied) != 2 || !strings.HasPrefix(denied["iam:AttachUserPolicy"], "arn:aws:iam::123456789012:user/lessor/") || denied["iam:ListSSHPublicKeys"] == "" {
		t.Fatalf("denied %v", denied)
	}
	w.WaitNoUsers()
	if r := w.adminSecret(messages.AdminGet, `{"name":"ci"}`); r.Error == nil || r.Error.Code != messages.CodeSecretNotFound {
		t.Fatalf("the definition was stored: %+v", r)
	}
}

// TestUserLeftByADryRunIsRemoved: AWS does not let the dry run delete its user. The
// answer says so, and the broker retries as with any lease.
func TestUserLeftByADryRunIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.limitedManager(lessortest.Secret, "iam:DeleteUser")
	d := strings.Replace(lessortest.Secret, `"aws":{`, `"aws":{"auth":{"method":"access_key","access_key_id":"`+keyID+`","secret_access_key":"`+secret+`"},`, 1)
	w.storeSecret(d)
	r := w.adminSecret(messages.AdminCheck, `{"name":"ci"}`)
	if r.Kind != messages.KindCheck || r.Check.OK || !strings.Contains(r.Check.Error, "could not be removed yet") {
		t.Fatalf("%+v %v", r.Check, r.Error)
	}
	if n := w.Sim.UserCount(); n != 1 {
		t.Fatalf("%d users", n)
	}
	w.Sim.AddInlinePolicy("manager", "more", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:DeleteUser","Resource":"*"}]}`)
	w.Eventually("the user is deleted", func() bool { w.Clock.Advance(5e9); return w.Sim.UserCount() == 0 })
}

func TestDryRunSaysWhyItCouldNotConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, _ := w.manager()
	r := w.adminSecret(messages.AdminPut, putBody(keyed("ci", keyID, strings.Repeat("x", 40)), ""))
	if r.Error == nil || r.Error.Code != messages.CodeCheckFailed || !strings.Contains(r.Check.Error, "SignatureDoesNotMatch") {
		t.Fatalf("%+v %v", r.Check, r.Error)
	}
	if n := len(w.Records()); n != 0 {
		t.Fatalf("%d records", n)
	}
}

// TestDryRunDoesNotTouchTheUserOfALease: with a fixed user name the dry run finds the
// user of a lease.
func TestDryRunDoesNotTouchTheUserOfALease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	w.Put(b, strings.Replace(lessortest.Secret, `"name"`, `"username_template":"deployer","allow_fixed_username":true,"name"`, 1))
	lease := w.Lease("ci", "{}")
	r := w.adminSecret(messages.AdminCheck, `{"name":"ci"}`)
	t.Logf("%+v", r.Check)
	if !w.Works(lease.Credentials) || w.Sim.UserCount() != 1 {
		t.Fatal("the lease's key does not work")
	}
	w.mustRevoke(lease)
	w.WaitNoUsers()
}

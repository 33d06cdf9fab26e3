package consumer_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/consumer/lessortest"
	"github.com/lessorhq/lessor/messages"
)

func TestOperatorPutsGetsAndListsSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	put := w.adminSecret(messages.AdminPut, putBody(lessortest.Secret, `,"no_check":true`))
	if put.Kind != messages.KindSecret || !put.Secret.Changed || put.Secret.Revision == 0 || put.Secret.State != messages.SecretActive {
		t.Fatalf("%+v %v", put, put.Error)
	}
	again := w.adminSecret(messages.AdminPut, putBody(lessortest.Secret, `,"no_check":true`))
	if again.Secret.Changed || again.Secret.Revision != put.Secret.Revision {
		t.Fatalf("put again unchanged: %+v", again.Secret)
	}
	got := w.adminSecret(messages.AdminGet, `{"name":"ci"}`)
	want, err := messages.DecodeDynamicSecret([]byte(lessortest.Secret))
	w.NoError(err)
	if a, b := mustJSON(got.Secret.Definition), mustJSON(want); a != b {
		t.Fatalf("got %s, want %s", a, b)
	}
	w.adminSecret(messages.AdminPut, putBody(`{"name":"another"}`, `,"no_check":true`))
	all := w.adminSecret(messages.AdminList, "")
	if len(all.Secrets) != 2 || all.Secrets[0].Name != "another" || all.Secrets[1].Name != "ci" {
		t.Fatalf("%+v", all.Secrets)
	}
	w.Lease("ci", "{}")
	if c := w.adminSecret(messages.AdminGet, `{"name":"ci"}`).Secret.Connection; c.Account != "123456789012" || !strings.HasSuffix(c.ARN, "user/broker") {
		t.Fatalf("the broker's principal: %+v", c)
	}
}

func TestInvalidAdminRequestsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	file, err := messages.DecodeDynamicSecret([]byte(`{"name":"filed"}`))
	w.NoError(err)
	_, err = b.Secrets().Put(w.Context(), file, consumer.SourceFile)
	w.NoError(err)
	w.Put(b, lessortest.Secret)
	before := mustJSON(w.adminSecret(messages.AdminList, "").Secrets)
	for _, c := range []struct {
		verb  messages.AdminVerb
		body  string
		code  messages.Code
		words string
	}{
		{messages.AdminPut, ``, messages.CodeInvalidRequest, "JSON"},
		{messages.AdminPut, `{}`, messages.CodeInvalidRequest, "definition is missing"},
		{messages.AdminPut, `{"definition":{"name":"a.b"}}`, messages.CodeInvalidSecret, "name"},
		{messages.AdminPut, putBody(`{"name":"x","aws":{"groups":["a b"]}}`, ""), messages.CodeInvalidSecret, "aws.groups[0]"},
		{messages.AdminPut, putBody(`{"name":"x","default_ttl":"500ms"}`, ""), messages.CodeInvalidSecret, "default_ttl"},
		{messages.AdminPut, putBody(`{"name":"x"}`, `,"revision":9`), messages.CodeRevisionMismatch, "no dynamic secret"},
		{messages.AdminPut, putBody(`{"name":"ci"}`, `,"revision":0`), messages.CodeRevisionMismatch, "at revision"},
		{messages.AdminPut, putBody(`{"name":"ci"}`, `,"revision":0,"no_check":true`), messages.CodeRevisionMismatch, "at revision"},
		{messages.AdminPut, putBody(`{"name":"ci"}`, `,"revision":-1`), messages.CodeInvalidRequest, "revision"},
		{messages.AdminPut, putBody(`{"name":"filed","max_leases":3}`, `,"no_check":true`), messages.CodeSecretFromFile, "file"},
		{messages.AdminGet, `{"name":"missing"}`, messages.CodeSecretNotFound, "missing"},
		{messages.AdminGet, `{"name":"*"}`, messages.CodeInvalidSubject, "name"},
		{messages.AdminGet, `{"name":"ci","force":true}`, messages.CodeInvalidRequest, "force"},
		{messages.AdminList, `{"x":1}`, messages.CodeInvalidRequest, "empty"},
		{messages.AdminDelete, `{"name":"missing"}`, messages.CodeSecretNotFound, "missing"},
		{messages.AdminDelete, `{"name":"filed"}`, messages.CodeSecretFromFile, "file"},
		{messages.AdminDelete, `{"name":"filed","force":true}`, messages.CodeSecretFromFile, "file"},
		{messages.AdminCheck, `{"name":"missing"}`, messages.CodeSecretNotFound, "missing"},
		{messages.AdminRotateKey, `{"name":"ci"}`, messages.CodeInvalidRequest, "access_key"},
	} {
		r := w.adminSecret(c.verb, c.body)
		if r.Kind != messages.KindError || r.Error.Code != c.code || !strings.Contains(r.Error.Message, c.words) {
			t.Errorf("%s %s: %+v %v, want %s with %q", c.verb, c.body, r, r.Error, c.code, c.words)
		}
	}
	if after := mustJSON(w.adminSecret(messages.AdminList, "").Secrets); after != before {
		t.Fatalf("before %s, after %s", before, after)
	}
	if n := len(w.Sim.Calls()); n > 1 {
		t.Fatalf("%d calls to AWS", n) // one may be GetCallerIdentity
	}
}

func TestOperatorsAreAnsweredOnInboxesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	for _, reply := range []string{"lessor.request.alice.ci", "$KV.lessor_secret.ci", "$JS.API.STREAM.DELETE.LESSOR_EVENT", "lessor.deliver.alice.x", "_INBOX", "_INBOX_a*b"} {
		w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(messages.AdminList), reply, nil))
	}
	for range 5 { // the endpoint takes its requests in order
		w.adminSecret(messages.AdminList, "")
	}
	if n := w.Logs.Count("the broker may not publish to its reply subject"); n != 6 {
		t.Fatalf("%d requests were refused", n)
	}
	sub, err := w.Conn.SubscribeSync("_INBOX_ops.x")
	w.NoError(err)
	w.NoError(w.Conn.PublishRequest(w.Namespace.AdminSecret(messages.AdminList), "_INBOX_ops.x", nil))
	w.WantKind(first(w.Answer(sub)), messages.KindSecrets)
}

func TestPutSecretCountsAtAllReplicasWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	brokers := []*lessortest.Broker{w.Broker(), w.Broker(), w.Broker()}
	w.Put(brokers[0], lessortest.Secret)
	w.Lease("ci", "{}")
	for i := range 5 {
		longest := fmt.Sprintf("%dh", 30+i)
		w.adminSecret(messages.AdminPut, putBody(strings.Replace(lessortest.Secret, "24h", longest, 1), `,"no_check":true`))
		put := time.Now()
		for _, b := range brokers {
			b := b
			w.Eventually("the replica has the change", func() bool {
				d, err := b.Secrets().Get(w.Context(), "ci")
				return err == nil && d.MaxTTL.Std() == time.Duration(30+i)*time.Hour
			})
		}
		if took := time.Since(put); took > time.Second {
			t.Fatalf("the change took %s", took)
		}
	}
}

func TestSecretReleasedFromItsFileCanBeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	d, err := messages.DecodeDynamicSecret([]byte(`{"name":"filed"}`))
	w.NoError(err)
	_, err = b.Secrets().Put(w.Context(), d, consumer.SourceFile)
	w.NoError(err)
	w.NoError(b.Secrets().Release(w.Context(), "filed"))
	w.NoError(b.Secrets().Release(w.Context(), "missing"))
	if i := w.adminSecret(messages.AdminGet, `{"name":"filed"}`).Secret; i.Source != "" || i.Definition.Name != "filed" {
		t.Fatalf("%+v", i)
	}
	w.WantKind(w.adminSecret(messages.AdminPut, putBody(`{"name":"filed","max_leases":3}`, `,"no_check":true`)), messages.KindSecret)
	if r := w.adminSecret(messages.AdminDelete, `{"name":"filed"}`); r.Kind != messages.KindDeletion || !r.Deletion.Done {
		t.Fatalf("%+v %v", r.Deletion, r.Error)
	}
}

// TestTooLongListIsRefused: the definitions together exceed the largest message.
func TestTooLongListIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.Broker()
	tags := make([]string, 46)
	for i := range tags {
		tags[i] = fmt.Sprintf("%q:%q", fmt.Sprintf("tag-%d", i), strings.Repeat("x", 250))
	}
	w.Put(b, fmt.Sprintf(`{"name":"ci-0","tags":{%s}}`, strings.Join(tags, ",")))
	kv := w.Bucket(w.Namespace.SecretBucket())
	stored, err := kv.Get(w.Context(), "ci-0")
	w.NoError(err)
	for i := 1; i < 92; i++ {
		name := fmt.Sprintf("ci-%d", i)
		_, err := kv.PutString(w.Context(), name, strings.Replace(string(stored.Value()), "ci-0", name, 1))
		w.NoError(err)
	}
	r, _ := w.AnswerWithin(lessortest.Patience, w.startAdmin(messages.AdminList, ""))
	w.WantError(r, messages.CodeTooLarge)
}

// TestPutWithSealedSecretKey: an operator's client sends no key in clear.
func TestPutWithSealedSecretKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker()
	keyID, secret := w.manager()
	key := w.Operate(w.Namespace.AdminKey(), "").Key
	d, err := messages.DecodeDynamicSecret([]byte(keyed("ci", keyID, secret)))
	w.NoError(err)
	put, err := messages.SecretPut{Definition: d, NoCheck: true}.Seal(key)
	w.NoError(err)
	body, err := put.Encode()
	w.NoError(err)
	if bytes.Contains(body, []byte(secret)) {
		t.Fatal("the key is in clear")
	}
	stolen := strings.Replace(string(body), `"name":"ci"`, `"name":"mine"`, 1)
	if r := w.adminSecret(messages.AdminPut, stolen); r.Error == nil || r.Error.Code != messages.CodeInvalidRequest {
		t.Fatalf("another definition with the sealed key: %+v", r)
	}
	w.WantKind(w.adminSecret(messages.AdminPut, string(body)), messages.KindSecret)
	w.Lease("ci", "{}")
	if by := w.signedBy("CreateUser"); by[keyID] != 1 {
		t.Errorf("signed by %v", by)
	}
}

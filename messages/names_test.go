package messages_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
)

var tokens = rapid.StringMatching(`[a-z0-9_-]{1,64}`)

func TestNamespaceNames(t *testing.T) {
	lease := messages.LeaseName{Identity: "alice", Secret: "ci", ID: "06ct"}
	for prefix, want := range map[string][]string{
		"": {
			"lessor", "LESSOR_REQUEST", "LESSOR_RENEW", "LESSOR_REVOKE", "LESSOR_CONFIRM", "LESSOR_EVENT",
			"lessor_request", "lessor_lease", "lessor_secret", "lessor_state", "lessor",
			"lessor.request.*.*", "lessor.renew.*.*.*", "lessor.revoke.*.*.*", "lessor.confirm.*.*.*.*", "lessor.event.*.*.*.*",
			"lessor.request.alice.ci", "lessor.renew.alice.ci.06ct", "lessor.revoke.alice.ci.06ct", "lessor.confirm.alice.ci.06ct.tok",
			"lessor.event.alice.ci.06ct.issued", "lessor.api.list.alice", "lessor.deliver.alice",
		},
		"my-co_1": {
			"my-co_1", "MY-CO_1_REQUEST", "MY-CO_1_RENEW", "MY-CO_1_REVOKE", "MY-CO_1_CONFIRM", "MY-CO_1_EVENT",
			"my-co_1_request", "my-co_1_lease", "my-co_1_secret", "my-co_1_state", "my-co_1",
			"my-co_1.request.*.*", "my-co_1.renew.*.*.*", "my-co_1.revoke.*.*.*", "my-co_1.confirm.*.*.*.*", "my-co_1.event.*.*.*.*",
			"my-co_1.request.alice.ci", "my-co_1.renew.alice.ci.06ct", "my-co_1.revoke.alice.ci.06ct", "my-co_1.confirm.alice.ci.06ct.tok",
			"my-co_1.event.alice.ci.06ct.issued", "my-co_1.api.list.alice", "my-co_1.deliver.alice",
		},
	} {
		n, err := messages.NewNamespace(prefix)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{
			n.Prefix(), n.Stream(messages.VerbRequest), n.Stream(messages.VerbRenew), n.Stream(messages.VerbRevoke), n.Stream(messages.VerbConfirm), n.EventStream(),
			n.Consumer(messages.VerbRequest), n.LeaseBucket(), n.SecretBucket(), n.StateBucket(), n.Service(),
			n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke), n.VerbFilter(messages.VerbConfirm), n.EventFilter(),
			n.Request("alice", "ci"), n.Renew(lease), n.Revoke(lease), n.Confirm(lease, "tok"),
			n.Event(lease, messages.EventIssued), n.API("list", "alice"), n.Deliver("alice"),
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got\n%q, want\n%q", prefix, got, want)
		}
	}
}

func TestNewNamespaceRefusesInvalidPrefixes(t *testing.T) {
	for _, prefix := range []string{"a.b", "*", ">", "Lessor", "a b", "a\n", "$JS", strings.Repeat("a", 65)} {
		n, err := messages.NewNamespace(prefix)
		wantCode(t, err, messages.CodeInvalidSubject, "prefix")
		if n.Prefix() != "lessor" {
			t.Errorf("%q: got an error and a namespace %q", prefix, n.Prefix())
		}
	}
}

// matches reports whether a filter of tokens and "*" matches a subject.
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	return slices.EqualFunc(f, s, func(f, s string) bool { return f == "*" || f == s })
}

func TestEverySubjectMatchesExactlyItsStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := must(messages.NewNamespace(tokens.Draw(t, "prefix")))
		l := messages.LeaseName{Identity: tokens.Draw(t, "identity"), Secret: tokens.Draw(t, "secret"), ID: tokens.Draw(t, "id")}
		proof := tokens.Draw(t, "token")
		filters := []string{
			n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke),
			n.VerbFilter(messages.VerbConfirm), n.EventFilter(),
		}
		tail := []string{l.Identity, l.Secret, l.ID}
		for i, c := range []struct {
			subject string
			tokens  []string
		}{
			{n.Request(l.Identity, l.Secret), tail[:2]},
			{n.Renew(l), tail},
			{n.Revoke(l), tail},
			{n.Confirm(l, proof), append(slices.Clone(tail), proof)},
			{n.Event(l, messages.EventRevoked), append(slices.Clone(tail), "revoked")},
		} {
			for j, f := range filters {
				if matches(f, c.subject) != (i == j) {
					t.Fatalf("%s and the filter %s: %v", c.subject, f, i != j)
				}
			}
			if got := n.Tokens(c.subject, 1); !slices.Equal(got, c.tokens) {
				t.Fatalf("%s: got %q, want %q", c.subject, got, c.tokens)
			}
		}
		if got := n.Tokens(n.API("renew", tail...), 2); !slices.Equal(got, tail) {
			t.Fatalf("got %q, want %q", got, tail)
		}
	})
}

func TestTokensOfAShortSubjectAreNil(t *testing.T) {
	var n messages.Namespace
	for _, subject := range []string{"", "lessor", "lessor.list", "."} {
		if got := n.Tokens(subject, 1); got != nil {
			t.Errorf("%q: got %q", subject, got)
		}
	}
	if got := n.Tokens("lessor.api.list.alice", 3); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestCheckReplyAcceptsInboxesOfTheIdentity(t *testing.T) {
	for _, subject := range []string{
		"_INBOX.x", "_INBOX.2pWb5X3iY.JxU0", "_INBOX_alice.x", "_INBOX_alice.x.y.z", "_R_.4Xf.b", "lessor.deliver.alice.x",
		"lessor.deliver.alice.job.17", "_INBOX.$JS.API", "_INBOX.a*b", "_INBOX.a>", "_INBOX." + strings.Repeat("a", 505),
	} {
		if err := (messages.Namespace{}).CheckReply("alice", subject); err != nil {
			t.Errorf("%.60s: %v", subject, err)
		}
	}
}

func TestCheckReplyRefusesOtherSubjects(t *testing.T) {
	var n messages.Namespace
	for _, subject := range []string{
		// Subjects of the broker and of NATS.
		"$KV.lessor_lease.alice.ci.06ct", "$KV.lessor_secret.ci", "$JS.API.STREAM.DELETE.LESSOR_REQUEST", "$JS.API.>", "$JS.ACK.x", "$SYS.REQ.SERVER.PING",
		"$SRV.PING", "$O.x", "$G", "_GR_.x", "_REPL.x", "_S_.x",
		"lessor.request.alice.ci", "lessor.revoke.bob.ci.06ct", "lessor.confirm.alice.ci.06ct.tok", "lessor.event.alice.ci.06ct.issued",
		"lessor.api.request.bob.ci", "lessor.admin.put", "lessor", "lessor.deliver", "deliver.alice.x",
		// Subjects of other identities and of other forms.
		"_INBOX_bob.x", "_INBOX_other.x", "_INBOX_alic.x", "_INBOX_alice2.x", "_INBOX_alicea.x", "_INBOX_ALICE.x", "_INBOX_.x", "_INBOX_alice_.x",
		"lessor.deliver.bob.x", "lessor.deliver.alice2.x", "lessor.deliver.x.alice", "other.deliver.alice.x", "lessor.deliver.Alice.x",
		"_inbox.x", "_Inbox.x", "_INBOX", "_INBOXx", "_INBOX2.x", "INBOX.x", "_R_", "_R_x.y", "__R_.x", "x._INBOX.x", "x_INBOX.x", " _INBOX.x",
		// Not literal subjects.
		"", ".", "..", "_INBOX.", "_INBOX_alice.", "_R_.", "lessor.deliver.alice", "lessor.deliver.alice.", "_INBOX..x", "_INBOX.x.", "._INBOX.x", "_INBOX.x..y",
		"_INBOX.*", "_INBOX.>", "_INBOX.x.*", "_INBOX.x.>", "_INBOX.*.x", "_INBOX.>.x", "_INBOX_alice.>", "_R_.>", "_R_.*", "lessor.deliver.alice.>", "*", ">", "*.x", "_INBOX_*.x",
		"_INBOX.a b", "_INBOX. ", "_INBOX.a\t", "_INBOX.a\r\n", "_INBOX.a\r\nPUB $KV.x 0", "_INBOX.a\x00", "_INBOX.\x7f", "_INBOX.ä", "_INBOX.\xff", "_INBOX.a\u00a0b", "_INBOX.\u200b",
		"_ＩNBOX.x", "_INBOX\u2024x", "_INBOX_аlice.x", // a full-width I, a one dot leader, a Cyrillic a
		"_INBOX." + strings.Repeat("a", 506), "_INBOX." + strings.Repeat("a", 10_000), "_INBOX." + strings.Repeat("a.", 5_000), strings.Repeat("\n", 10_000),
	} {
		err := n.CheckReply("alice", subject)
		if err == nil {
			t.Errorf("%.60q: accepted", subject)
			continue
		}
		wantCode(t, err, messages.CodeInvalidReply)
		wantSafe(t, err)
		if len(err.Error()) > 300 {
			t.Errorf("%.60q: the error has %d bytes", subject, len(err.Error()))
		}
	}
}

// One identity may be a prefix of another.
func TestCheckReplyOfIdentitiesWithACommonPrefix(t *testing.T) {
	var n messages.Namespace
	for _, c := range []struct{ identity, other string }{{"a", "ab"}, {"a", "a_"}, {"a", "a-b"}, {"alice", "alice2"}, {"_", "__"}, {"r_", "r"}} {
		for _, format := range []string{"_INBOX_%s.x", "lessor.deliver.%s.x"} {
			for _, p := range [][2]string{{c.identity, c.other}, {c.other, c.identity}} {
				if err := n.CheckReply(p[0], fmt.Sprintf(format, p[0])); err != nil {
					t.Errorf("%s: %v", p[0], err)
				}
				wantCode(t, n.CheckReply(p[0], fmt.Sprintf(format, p[1])), messages.CodeInvalidReply)
			}
		}
	}
}

func TestCheckReplyUsesTheNamespacePrefix(t *testing.T) {
	n := must(messages.NewNamespace("other"))
	if err := n.CheckReply("alice", "other.deliver.alice.x"); err != nil {
		t.Error(err)
	}
	wantCode(t, n.CheckReply("alice", "lessor.deliver.alice.x"), messages.CodeInvalidReply, "other.deliver.alice.")
}

package messages_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

var adminVerbs = []messages.AdminVerb{
	messages.AdminPut, messages.AdminGet, messages.AdminList, messages.AdminDelete, messages.AdminCheck, messages.AdminRotateKey,
}

func TestAdminSubjects(t *testing.T) {
	for prefix, want := range map[string][]string{
		"": {
			"lessor_admin", "lessor.admin.secret.put", "lessor.admin.secret.get", "lessor.admin.secret.list",
			"lessor.admin.secret.delete", "lessor.admin.secret.check", "lessor.admin.secret.rotate-key",
		},
		"my-co_1": {
			"my-co_1_admin", "my-co_1.admin.secret.put", "my-co_1.admin.secret.get", "my-co_1.admin.secret.list",
			"my-co_1.admin.secret.delete", "my-co_1.admin.secret.check", "my-co_1.admin.secret.rotate-key",
		},
	} {
		n := must(messages.NewNamespace(prefix))
		got := []string{n.AdminService()}
		for _, v := range adminVerbs {
			got = append(got, n.AdminSecret(v))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got\n%q, want\n%q", prefix, got, want)
		}
		// No stream may store an operator's request, which may contain a secret key.
		for _, subject := range got[1:] {
			for _, filter := range []string{
				n.VerbFilter(messages.VerbRequest), n.VerbFilter(messages.VerbRenew), n.VerbFilter(messages.VerbRevoke),
				n.VerbFilter(messages.VerbConfirm), n.EventFilter(),
			} {
				if matches(filter, subject) {
					t.Errorf("%s matches %s", subject, filter)
				}
			}
		}
	}
}

// Requesters send these values and switch on them.
func TestWireConstantsAreStable(t *testing.T) {
	for _, c := range [][2]string{
		{messages.HeaderReason, "Lessor-Reason"}, {string(messages.ReasonOperator), "operator"},
		{string(messages.ReasonSecretDeleted), "secret_deleted"}, {string(messages.ReasonChecked), "checked"},
		{string(messages.CodeNotRenewable), "not_renewable"}, {string(messages.CodeRevisionMismatch), "revision_mismatch"},
		{string(messages.CodeSecretDeleting), "secret_deleting"}, {string(messages.CodeSecretFromFile), "secret_from_file"},
		{string(messages.CodeCheckFailed), "check_failed"}, {string(messages.SecretActive), "active"}, {string(messages.SecretDeleting), "deleting"},
		{string(messages.CredentialIAMUser), "iam_user"}, {string(messages.CredentialAssumeRole), "assume_role"},
		{string(messages.AuthDefault), "default"}, {string(messages.AuthAssumeRole), "assume_role"}, {string(messages.AuthIRSA), "irsa"},
		{string(messages.AuthPodIdentity), "pod_identity"}, {string(messages.AuthAccessKey), "access_key"},
		{messages.KindSecret, "secret"}, {messages.KindSecrets, "secrets"}, {messages.KindDeletion, "deletion"}, {messages.KindCheck, "check"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %s, want %s", c[0], c[1])
		}
	}
}

func TestCheckAdminReplyAcceptsInboxes(t *testing.T) {
	for _, prefix := range []string{"", "other"} {
		n := must(messages.NewNamespace(prefix))
		for _, subject := range []string{
			"_INBOX.x", "_INBOX.2pWb5X3iY.JxU0", "_R_.4Xf.b", "_INBOX_ops.x", "_INBOX_OPS.x.y", "_INBOX_Ops-1.x", "_INBOX__.x", "_INBOX_0.x",
			"_INBOX_" + strings.Repeat("a", 64) + ".x", "_INBOX." + strings.Repeat("a", 505), "_INBOX.$JS.API",
		} {
			if err := n.CheckAdminReply(subject); err != nil {
				t.Errorf("%.60s: %v", subject, err)
			}
		}
	}
}

func TestCheckAdminReplyRefusesOtherSubjects(t *testing.T) {
	for _, prefix := range []string{"", "other"} {
		n := must(messages.NewNamespace(prefix))
		for _, subject := range []string{
			"", ".", "x", "$KV.lessor_secret.ci", "$JS.API.STREAM.DELETE.LESSOR_REQUEST", "$SYS.REQ.SERVER.PING", "$SRV.PING",
			"lessor.request.alice.ci", "lessor.admin.secret.delete", "lessor.deliver.alice.x", "lessor.deliver..x", "lessor", "lessor.x",
			"other.deliver.alice.x", "other.revoke.alice.ci.1", "other.deliver..x",
			"_INBOX", "_INBOX.", "_INBOXx.y", "_R_", "_R_.", "_R_x.y", "x._INBOX.y", "_inbox.x", "_r_.x",
			"_INBOX_", "_INBOX_.x", "_INBOX_..x", "_INBOX_ops", "_INBOX_ops.", "_INBOX_<name>.x", "_INBOX_a$b.x", "_INBOX_*.x", "_INBOX_>.x", "_INBOX_ä.x",
			"_INBOX_\u212A.x", "_INBOX_o ps.x", "_INBOX_ops\x00.x", "_INBOX_" + strings.Repeat("a", 65) + ".x",
			"_INBOX_ops.>", "_INBOX_ops.*", "_INBOX_ops..x", "_INBOX_ops.x.", "_INBOX.>", "_INBOX.*", "_INBOX.a b", "_INBOX.a\r\nPUB $KV.x 0", "_INBOX..x",
			"_INBOX." + strings.Repeat("a", 506), "_INBOX_ops." + strings.Repeat("a.", 5_000) + "a", strings.Repeat("\n", 10_000),
		} {
			err := n.CheckAdminReply(subject)
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
	wantCode(t, messages.Namespace{}.CheckAdminReply("x.y"), messages.CodeInvalidReply, "_INBOX., _INBOX_<name>. or _R_.")
}

// The command is accepted at once and its reason is copied to a revocation of each
// lease, which must accept it.
func TestLeaseCommandReasonIsValidInARevocation(t *testing.T) {
	for _, reason := range []string{`a\nb`, `\u0000`, `\u001b[31m`, strings.Repeat("é", messages.MaxReason+1)} {
		_, err := messages.DecodeLeaseCommand(messages.AdminLeaseRevoke, []byte(`{"secret":"ci","reason":"`+reason+`"}`))
		wantCode(t, err, messages.CodeInvalidRequest, "reason")
		_, err = messages.DecodeRevokeRequest([]byte(`{"reason":"` + reason + `"}`))
		wantCode(t, err, messages.CodeInvalidRequest, "reason")
	}
}

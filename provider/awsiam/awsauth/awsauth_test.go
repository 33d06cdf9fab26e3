package awsauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

func TestEachMethodUsesItsOwnCredentials(t *testing.T) {
	for _, m := range awstest.Methods {
		t.Run(m.Name, func(t *testing.T) {
			b := newFixture(t)
			c := b.credentials(m.Auth)
			for range 2 { // the second call needs no credentials
				if who := b.identify(c); who != "arn:aws:sts::123456789012:assumed-role/"+m.Principal {
					t.Errorf("the broker is %s", who)
				}
				if n := b.CredentialCalls(); n != m.Calls {
					t.Errorf("there were %d calls for credentials", n)
				}
			}
			for _, call := range b.Calls() {
				if call.AccessKeyID == os.Getenv("AWS_ACCESS_KEY_ID") {
					t.Errorf("%s was signed with the environment's key", call.Action)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		auth func(*fixture) messages.Auth
		who  string
	}{
		"access_key": {func(b *fixture) messages.Auth { return b.UserKey }, "user"},
		"default":    {func(*fixture) messages.Auth { return messages.Auth{Method: messages.AuthDefault} }, "environment"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			if who := b.identify(b.credentials(c.auth(b))); who != "arn:aws:iam::123456789012:user/"+c.who {
				t.Errorf("the broker is %s", who)
			}
			if n := b.CredentialCalls(); n != 0 {
				t.Errorf("there were %d calls for credentials", n)
			}
		})
	}
}

func TestUnknownMethodIsRefused(t *testing.T) {
	if _, err := New(Config{Auth: messages.Auth{Method: "magic"}}); err == nil {
		t.Error("no error")
	}
}

func TestAssumeRoleUsesTheBaseKeyOrTheBrokersOwnCredentials(t *testing.T) {
	assume := messages.Auth{Method: messages.AuthAssumeRole, RoleARN: awstest.RoleUsers}
	for name, c := range map[string]struct {
		change func(*fixture)
		who    string
		warns  bool
	}{
		"the base key":                   {func(*fixture) {}, "base", false},
		"the base key before Config.Own": {func(b *fixture) { b.useOwn() }, "base", false},
		"the chain":                      {func(b *fixture) { clear(b.Vars) }, "environment", false},
		"Config.Own":                     {func(b *fixture) { clear(b.Vars); b.useOwn() }, "own", false},
		"the key id without the secret":  {func(b *fixture) { delete(b.Vars, envBaseSecret) }, "environment", true},
		"the secret without the key id":  {func(b *fixture) { delete(b.Vars, envBaseKeyID) }, "environment", true},
		"an invalid chain":               {func(b *fixture) { b.BreakChain() }, "base", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			c.change(b)
			got := b.credentials(assume)
			if who := b.identify(got); who != "arn:aws:sts::123456789012:assumed-role/users/inst-1" {
				t.Errorf("the broker is %s", who)
			}
			b.identify(got)
			call := b.Calls()[0]
			if u, _ := b.User(c.who); u.AccessKeys[0].ID != call.AccessKeyID {
				t.Errorf("the role is assumed with the key %s", call.AccessKeyID)
			}
			if call.Params.Has("ExternalId") {
				t.Errorf("the external id is %q, and the definition has none", call.Params.Get("ExternalId"))
			}
			want := 0
			if c.warns {
				want = 1
			}
			if n := strings.Count(b.Log.String(), "only one of"); n != want {
				t.Errorf("%d warnings: %s", n, b.Log)
			}
		})
	}
}

// useOwn sets Config.Own.
func (b *fixture) useOwn() {
	id, secret := b.AddPrincipal("own")
	b.own = credentials.NewStaticCredentialsProvider(id, secret, "")
}

func TestInvalidChainAffectsNoOtherMethod(t *testing.T) {
	b := newFixture(t)
	b.BreakChain()
	for _, m := range awstest.Methods {
		b.identify(b.credentials(m.Auth))
	}
	b.identify(b.credentials(b.UserKey))
}

func TestSessionHasADefaultName(t *testing.T) {
	b := newFixture(t)
	config := b.config(awstest.Methods[0].Auth)
	config.SessionName = ""
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if who := b.identify(c); !strings.HasSuffix(who, "/one/lessor") {
		t.Errorf("the broker is %s", who)
	}
}

// EKS sets transitive tags on the sessions of pods, so that assuming a second role needs
// the permission to tag its session.
func TestSecondRoleOfAPodMustTrustTagSession(t *testing.T) {
	b := newFixture(t)
	trust := func(kind definition.TrustKind, o definition.TrustOptions) string {
		document, err := definition.Trust(kind, o)
		if err != nil {
			t.Fatal(err)
		}
		return string(document)
	}
	b.SetTrust("pod", trust(definition.TrustPodIdentity, definition.TrustOptions{ServiceAccount: "lessor/lessor"}))
	c := b.credentials(awstest.Methods[4].Auth)
	second := definition.TrustOptions{Principal: awstest.RolePod, ExternalID: "lessor:2"}
	b.SetTrust("two", trust(definition.TrustAssumeRole, second))
	b.fails(c, provider.Denied, "AssumeRole", "AccessDenied", "AccessDenied")
	b.SetTrust("two", trust(definition.TrustLeasedRole, second))
	b.identify(c)

	b.SetTrust("pod", trust(definition.TrustPodIdentity, definition.TrustOptions{ServiceAccount: "lessor/another"}))
	b.fails(b.credentials(messages.Auth{Method: messages.AuthPodIdentity}), provider.Denied, "GetCredentials", "AccessDeniedException", "AccessDenied")
}

// The SDK's error for output of credential_process that it does not understand contains
// that output.
func TestOutputOfCredentialProcessIsInNoError(t *testing.T) {
	b := newFixture(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "config")
	b.Secrets = append(b.Secrets, "hush-hush")
	if err := os.WriteFile(file, []byte("[default]\ncredential_process = echo '{hush-hush'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	b.fails(b.credentials(messages.Auth{Method: messages.AuthDefault}), provider.Unavailable, "CreateUser", "", "no credentials")
}

package awsiam

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

func TestEachMethodUsesItsOwnCredentials(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a := newAuthBench(t)
			c := a.as(way.auth)
			if who := a.identify(c); who != "arn:aws:sts::123456789012:assumed-role/"+way.who {
				t.Errorf("the broker is %s", who)
			}
			if n := a.asked(); n != way.calls {
				t.Errorf("it took %d calls", n)
			}
			user := provider.Creation{User: record.User{Name: userName, Path: "/"}, Owner: lease().Owner}
			if _, err := c.Create(t.Context(), user); err != nil {
				t.Error(err)
			}
			if n := a.asked(); n != way.calls {
				t.Errorf("%d more calls for credentials that are there", n-way.calls)
			}
			for _, call := range a.Calls() {
				if call.AccessKeyID == os.Getenv("AWS_ACCESS_KEY_ID") {
					t.Errorf("%s was made with the environment's key", call.Action)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		auth func(*authBench) messages.Auth
		who  string
	}{
		"access_key": {func(a *authBench) messages.Auth { return a.userKey }, "user"},
		"default":    {func(*authBench) messages.Auth { return messages.Auth{Method: messages.AuthDefault} }, "environment"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthBench(t)
			if who := a.identify(a.as(c.auth(a))); who != "arn:aws:iam::123456789012:user/"+c.who {
				t.Errorf("the broker is %s", who)
			}
			if n := a.asked(); n != 0 {
				t.Errorf("it took %d calls", n)
			}
		})
	}
}

func TestTheBaseCredentialsOfAssumeRole(t *testing.T) {
	assume := messages.Auth{Method: messages.AuthAssumeRole, RoleARN: roleUsers}
	for name, c := range map[string]struct {
		change func(*testing.T, *authBench)
		who    string
		warns  bool
	}{
		"the variables":                  {func(*testing.T, *authBench) {}, "base", false},
		"the variables before the own":   {func(_ *testing.T, a *authBench) { a.useOwn() }, "base", false},
		"the chain":                      {func(_ *testing.T, a *authBench) { clear(a.env) }, "environment", false},
		"the own":                        {func(_ *testing.T, a *authBench) { clear(a.env); a.useOwn() }, "own", false},
		"one variable alone":             {func(_ *testing.T, a *authBench) { delete(a.env, envBaseSecret) }, "environment", true},
		"the other variable alone":       {func(_ *testing.T, a *authBench) { delete(a.env, envBaseKeyID) }, "environment", true},
		"a chain that is set up wrongly": {func(t *testing.T, _ *authBench) { breakChain(t) }, "base", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthBench(t)
			c.change(t, a)
			account := a.as(assume)
			if who := a.identify(account); who != "arn:aws:sts::123456789012:assumed-role/users/inst-1" {
				t.Errorf("the broker is %s", who)
			}
			a.identify(account)
			call := a.Calls()[0]
			if u, _ := a.User(c.who); u.AccessKeys[0].ID != call.AccessKeyID {
				t.Errorf("the role is assumed with the key %s", call.AccessKeyID)
			}
			if call.Params.Has("ExternalId") {
				t.Errorf("the external id is %q, and there is none", call.Params.Get("ExternalId"))
			}
			want := 0
			if c.warns {
				want = 1
			}
			if n := strings.Count(a.log.String(), "only one of"); n != want {
				t.Errorf("%d warnings: %s", n, a.log)
			}
		})
	}
}

// useOwn gives the broker credentials by its options.
func (a *authBench) useOwn() {
	id, secret := a.AddPrincipal("own")
	a.options.Credentials = static(id, secret)
	a.provider = New(a.options)
}

// breakChain leaves the SDK's chain a setting that it refuses.
func breakChain(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere") // and no AWS_ROLE_ARN
}

func TestABrokenChainConcernsWhoUsesItOnly(t *testing.T) {
	a := newAuthBench(t)
	breakChain(t)
	for _, way := range ways {
		a.identify(a.as(way.auth))
	}
	a.identify(a.as(a.userKey))
	_, err := a.provider.Connect(t.Context(), provider.Connection{Region: "eu-central-1", Auth: messages.Auth{Method: messages.AuthDefault}})
	expectError(t, err, provider.Unavailable, "")
}

func TestASessionHasAName(t *testing.T) {
	a := newAuthBench(t)
	c, err := a.provider.Connect(t.Context(), provider.Connection{Region: "eu-central-1", Auth: ways[0].auth})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := c.Identify(t.Context()); err != nil || !strings.HasSuffix(who.ARN, "/one/lessor") {
		t.Errorf("the broker is %s: %v", who.ARN, err)
	}
}

func TestAConnectionThatHasChangedIsMadeAnew(t *testing.T) {
	a := newAuthBench(t)
	connect := func(secret string) provider.Account {
		auth := a.userKey
		auth.SecretAccessKey = messages.NewSensitive(secret)
		c, err := a.provider.Connect(t.Context(), provider.Connection{Name: "same", Region: "eu-central-1", Auth: auth})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := connect("wrong")
	if _, err := old.Identify(t.Context()); provider.AsError(err).Code != "SignatureDoesNotMatch" {
		t.Error(err)
	}
	now := connect(a.userKey.SecretAccessKey.Reveal())
	if _, err := now.Identify(t.Context()); err != nil {
		t.Error(err)
	}
	if connect(a.userKey.SecretAccessKey.Reveal()) != now || now == old {
		t.Error("a connection is the same exactly as long as its key's secret is")
	}
}

func TestAnAgentElsewhereGetsNoToken(t *testing.T) {
	for address, good := range map[string]bool{
		"https://agent.example.com/v1/credentials": true,
		"http://127.0.0.1:8080/":                   true,
		"http://127.7.7.7/":                        true,
		"http://[::1]:80/":                         true,
		"http://localhost/":                        true,
		"http://169.254.170.23/v1/credentials":     true,
		"http://[fd00:ec2::23]/v1/credentials":     true,
		"http://169.254.170.2/":                    false,
		"http://169.254.169.254/":                  false,
		"http://10.0.0.1/":                         false,
		"http://[fd00:ec2::24]/":                   false,
		"http://localhost.example.com/":            false,
		"http://agent.example.com/":                false,
		"http://127.0.0.1@agent.example.com/":      false,
		"ftp://127.0.0.1/":                         false,
		"127.0.0.1":                                false,
		"https://":                                 false,
		"http://%zz/":                              false,
		"":                                         false,
	} {
		if err := checkAgent(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// What credential_process prints is the SDK's error, where it is not understood.
func TestTheOutputOfAProcessIsInNoError(t *testing.T) {
	a := newAuthBench(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "config")
	a.secrets = append(a.secrets, "hush-hush")
	if err := os.WriteFile(file, []byte("[default]\ncredential_process = echo '{hush-hush'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	a.fails(a.as(messages.Auth{Method: messages.AuthDefault}), provider.Unavailable, "CreateUser", "", "no credentials")
}

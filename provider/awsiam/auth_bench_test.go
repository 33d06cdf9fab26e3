package awsiam

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	issuer   = "https://oidc.example.com/id/1"
	audience = "sts.amazonaws.com"
	subject  = "system:serviceaccount:lessor:lessor"

	roleOne   = "arn:aws:iam::123456789012:role/one"   // what the base credentials assume
	rolePod   = "arn:aws:iam::123456789012:role/pod"   // what a pod gets by itself
	roleTwo   = "arn:aws:iam::123456789012:role/two"   // what a pod's role assumes
	roleUsers = "arn:aws:iam::123456789012:role/users" // anybody's, without an external id

	everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
)

// trust lets a principal assume a role, with an external id if there is one.
func trust(principal, externalID string) string {
	condition := ""
	if externalID != "" {
		condition = `,"Condition":{"StringEquals":{"sts:ExternalId":"` + externalID + `"}}`
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"` + principal + `"}` + condition + `}]}`
}

const trustPod = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"},
	 "Condition":{"StringEquals":{"oidc.example.com/id/1:sub":"system:serviceaccount:lessor:lessor"}}},
	{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Principal":{"Service":"pods.eks.amazonaws.com"}}]}`

// clock is the time of both sides, which only a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// output is a log that may be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// authBench is an account with everything that each method needs, and a broker
// whose environment has it all at once. AWS_ACCESS_KEY_ID is a valid key, of
// somebody else.
type authBench struct {
	*bench
	clock    *clock
	log      *output
	env      map[string]string // what Getenv says; set it before the first call
	options  Options
	provider *Provider
	agent    *iamsim.Agent
	pod      *iamsim.Server
	baseKey  string
	userKey  messages.Auth
	secrets  []string // what must never be in an error
}

func newAuthBench(t *testing.T) *authBench {
	t.Helper()
	a := &authBench{clock: &clock{at: time.Now().Truncate(time.Second)}, log: &output{}}
	sim := iamsim.New(iamsim.Options{Now: a.clock.now})
	server, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	a.bench = &bench{Sim: sim, t: t, server: server}

	environmentKey, environmentSecret := sim.AddPrincipal("environment")
	t.Setenv("AWS_ACCESS_KEY_ID", environmentKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", environmentSecret)
	baseKey, baseSecret := sim.AddPrincipal("base")
	userKey, userSecret := sim.AddPrincipal("user")
	a.baseKey = baseKey
	a.userKey = messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: userKey, SecretAccessKey: messages.NewSensitive(userSecret)}
	a.secrets = []string{environmentSecret, baseSecret, userSecret, "pod-token"}

	sim.AddOIDCProvider(issuer, audience)
	for role, document := range map[string]string{
		"one":   trust("arn:aws:iam::123456789012:user/base", "lessor:1"),
		"pod":   trustPod,
		"two":   trustPolicy(t, TrustLeasedRole, TrustOptions{Principal: rolePod, ExternalID: "lessor:2"}),
		"users": trust("123456789012", ""),
	} {
		sim.AddRole(role, document)
		sim.AddRolePolicy(role, "everything", everything)
	}
	a.agent = sim.NewAgent("pod")
	a.agent.SetSessionDuration(time.Hour)
	a.agent.SetToken("pod-token", time.Time{})
	if a.pod, err = a.agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.pod.Close() })

	dir := t.TempDir()
	a.env = map[string]string{
		envBaseKeyID: baseKey, envBaseSecret: baseSecret,
		envIRSA: "true", envRole: rolePod, envWebToken: filepath.Join(dir, "web"),
		envAgentURL: a.pod.URL + "/v1/credentials", envAgentToken: filepath.Join(dir, "agent"),
	}
	a.rotate(time.Hour)
	a.write(envAgentToken, " pod-token\r\n")

	a.options = Options{
		Endpoint: server.URL,
		Getenv:   func(name string) string { return a.env[name] },
		Now:      a.clock.now,
		Backoff:  func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
		Log:      zerolog.New(a.log),
	}
	a.provider = New(a.options)
	return a
}

// write puts a token where a variable says.
func (a *authBench) write(variable, token string) {
	a.t.Helper()
	if err := os.WriteFile(a.env[variable], []byte(token), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// rotate is what the kubelet does.
func (a *authBench) rotate(ttl time.Duration) {
	a.t.Helper()
	token := a.WebIdentityToken(issuer, subject, audience, ttl)
	a.secrets = append(a.secrets, token)
	a.write(envWebToken, token+"\n")
}

// as connects by a method.
func (a *authBench) as(auth messages.Auth) *account {
	a.t.Helper()
	c, err := a.provider.Connect(a.t.Context(), provider.Connection{
		Name: fmt.Sprint(auth), Region: "eu-central-1", Auth: auth, Session: "inst-1",
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return c.(*account)
}

// identify is who the broker is; it makes one call.
func (a *authBench) identify(c *account) string {
	a.t.Helper()
	who, err := c.Identify(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	return who.ARN
}

// key is the key of the last call.
func (a *authBench) key() string {
	a.t.Helper()
	calls := a.Calls()
	return calls[len(calls)-1].AccessKeyID
}

// asked is how often credentials were asked for.
func (a *authBench) asked() int {
	return a.count("AssumeRole") + a.count("AssumeRoleWithWebIdentity") + a.agent.Requests()
}

// expectAsked fails unless credentials are asked for n times; the first of two
// that one needs may be refreshed a little later than the second.
func (a *authBench) expectAsked(n int) {
	a.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); a.asked() < n && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := a.asked(); got != n {
		a.t.Errorf("credentials were asked for %d times, want %d", got, n)
	}
}

// refreshed waits until no refresh is under way, and then makes a call.
func (a *authBench) refreshed(c *account) {
	a.t.Helper()
	own := c.iam.Options().Credentials.(*cache)
	own.mu.Lock()
	f := own.flight
	own.mu.Unlock()
	if f != nil {
		<-f.done
	}
	a.identify(c)
}

// fails makes a call that changes something, which must not come to pass: it has
// no credentials, and its error says why, but no secret.
func (a *authBench) fails(c *account, kind provider.Kind, op, code, safe string) {
	a.t.Helper()
	_, err := c.Create(a.t.Context(), lease())
	expectError(a.t, err, kind, provider.LeftNothing)
	e := provider.AsError(err)
	if err == nil || !e.Unsigned || e.Code != code || e.Op != op || !strings.Contains(e.Safe(), safe) {
		a.t.Errorf("the error is %+v: %s", e, e.Safe())
	}
	if slices.Contains(a.actions(), "CreateUser") {
		a.t.Error("the call was made")
	}
	a.expectNoSecret(e)
}

func (a *authBench) expectNoSecret(e *provider.Error) {
	a.t.Helper()
	said := e.Error() + e.Safe() + e.Public().Message + fmt.Sprintf("%+v %#v", e, e) + a.log.String()
	for _, secret := range a.secrets {
		if strings.Contains(said, secret) {
			a.t.Errorf("there is a secret in %s", said)
		}
	}
}

// ways are the methods that bring sessions, each with who it makes the broker and
// how many calls that takes.
var ways = []struct {
	name  string
	auth  messages.Auth
	who   string
	calls int
}{
	{"assume_role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: roleOne, ExternalID: "lessor:1"}, "one/inst-1", 1},
	{"irsa", messages.Auth{Method: messages.AuthIRSA}, "pod/inst-1", 1},
	{"irsa, second role", messages.Auth{Method: messages.AuthIRSA, RoleARN: rolePod, AssumeRoleARN: roleTwo, ExternalID: "lessor:2"}, "two/inst-1", 2},
	{"pod_identity", messages.Auth{Method: messages.AuthPodIdentity}, "pod/eks-cluster-pod", 1},
	{"pod_identity, second role", messages.Auth{Method: messages.AuthPodIdentity, AssumeRoleARN: roleTwo, ExternalID: "lessor:2"}, "two/inst-1", 2},
}

package awstest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	issuer   = "https://oidc.example.com/id/1"
	audience = "sts.amazonaws.com"
	subject  = "system:serviceaccount:lessor:lessor"
)

// The roles of [Env], and the principals that they trust.
const (
	RoleOne   = "arn:aws:iam::123456789012:role/one"   // the user base, with the external id lessor:1
	RolePod   = "arn:aws:iam::123456789012:role/pod"   // the service account, and EKS Pod Identity
	RoleTwo   = "arn:aws:iam::123456789012:role/two"   // RolePod, with the external id lessor:2
	RoleUsers = "arn:aws:iam::123456789012:role/users" // every principal of the account
)

// The environment variables of the authentication methods.
const (
	EnvBaseKeyID  = "DYNAMIC_SECRET_AWS_ACCESS_KEY_ID"
	EnvBaseSecret = "DYNAMIC_SECRET_AWS_SECRET_ACCESS_KEY"
	EnvIRSA       = "KUBERNETES_AUTO_FETCH_SERVICE_ACCOUNT_TOKEN"
	EnvRole       = "AWS_ROLE_ARN"
	EnvWebToken   = "AWS_WEB_IDENTITY_TOKEN_FILE" // #nosec G101 -- the name of a variable
	EnvAgentURL   = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	EnvAgentToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" // #nosec G101 -- the name of a variable
)

// Trust returns a trust policy that lets a principal assume and tag a role, with an
// external id unless it is "".
func Trust(principal, externalID string) string {
	condition := ""
	if externalID != "" {
		condition = `,"Condition":{"StringEquals":{"sts:ExternalId":"` + externalID + `"}}`
	}
	return `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"` + principal + `"}` + condition + `},
		{"Effect":"Allow","Action":"sts:TagSession","Principal":{"AWS":"` + principal + `"}}]}`
}

const trustPod = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"},
	 "Condition":{"StringEquals":{"oidc.example.com/id/1:sub":"system:serviceaccount:lessor:lessor"}}},
	{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Principal":{"Service":"pods.eks.amazonaws.com"}}]}`

// Clock is a clock that only the test moves.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that shows the present time.
func NewClock() *Clock { return &Clock{at: time.Now().Truncate(time.Second)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Log is a log that may be read while it is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what has been logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Env is a simulated AWS account with the principals, roles, tokens and agent of every
// authentication method, and a broker's environment that names all of them.
// AWS_ACCESS_KEY_ID is a valid key of the user environment, which no method but default
// may use.
type Env struct {
	*iamsim.Sim
	t           *testing.T
	Server      *iamsim.Server
	Clock       *Clock // of the broker and of AWS
	Log         *Log
	Vars        map[string]string // returned by Getenv; set them before the first call
	Agent       *iamsim.Agent
	AgentServer *iamsim.Server
	BaseKey     string        // the id of the base key
	UserKey     messages.Auth // the method access_key
	Secrets     []string      // must not appear in any error or log
}

// NewEnv starts an Env. It sets environment variables, so that the test cannot be
// parallel.
func NewEnv(t *testing.T) *Env {
	t.Helper()
	e := &Env{t: t, Clock: NewClock(), Log: &Log{}}
	e.Sim = iamsim.New(iamsim.Options{Now: e.Clock.Now})
	e.Server = e.start(e.Sim.Start)

	environmentKey, environmentSecret := e.AddPrincipal("environment")
	t.Setenv("AWS_ACCESS_KEY_ID", environmentKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", environmentSecret)
	baseKey, baseSecret := e.AddPrincipal("base")
	userKey, userSecret := e.AddPrincipal("user")
	e.BaseKey = baseKey
	e.UserKey = messages.Auth{Method: messages.AuthAccessKey, AccessKeyID: userKey, SecretAccessKey: messages.NewSensitive(userSecret)}
	e.Secrets = []string{environmentSecret, baseSecret, userSecret, "pod-token"}

	e.AddOIDCProvider(issuer, audience)
	for role, document := range map[string]string{
		"one": Trust("arn:aws:iam::123456789012:user/base", "lessor:1"), "pod": trustPod,
		"two": Trust(RolePod, "lessor:2"), "users": Trust(AccountID, ""),
	} {
		e.AddRole(role, document)
		e.AddRolePolicy(role, "everything", AllowAll)
	}
	e.Agent = e.NewAgent("pod")
	e.Agent.SetSessionDuration(time.Hour)
	e.Agent.SetToken("pod-token", time.Time{})
	e.AgentServer = e.start(e.Agent.Start)

	dir := t.TempDir()
	e.Vars = map[string]string{
		EnvBaseKeyID: baseKey, EnvBaseSecret: baseSecret,
		EnvIRSA: "true", EnvRole: RolePod, EnvWebToken: filepath.Join(dir, "web"),
		EnvAgentURL: e.AgentServer.URL + "/v1/credentials", EnvAgentToken: filepath.Join(dir, "agent"),
	}
	e.RotateToken(time.Hour)
	e.Write(EnvAgentToken, " pod-token\r\n")
	return e
}

func (e *Env) start(start func() (*iamsim.Server, error)) *iamsim.Server {
	e.t.Helper()
	s, err := start()
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = s.Close() })
	return s
}

// Getenv returns a variable of the broker's environment.
func (e *Env) Getenv(name string) string { return e.Vars[name] }

// Write writes a token to the file that a variable names.
func (e *Env) Write(variable, token string) {
	e.t.Helper()
	if err := os.WriteFile(e.Vars[variable], []byte(token), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// RotateToken replaces the service account's token, as the kubelet does.
func (e *Env) RotateToken(ttl time.Duration) {
	e.t.Helper()
	token := e.WebIdentityToken(issuer, subject, audience, ttl)
	e.Secrets = append(e.Secrets, token)
	e.Write(EnvWebToken, token+"\n")
}

// UsePodChain makes the SDK's chain use the service account's token, and nothing else.
func (e *Env) UsePodChain() {
	e.t.Helper()
	e.t.Setenv("AWS_ACCESS_KEY_ID", "")
	e.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	e.t.Setenv("AWS_ENDPOINT_URL_STS", e.Server.URL)
	file := filepath.Join(e.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(e.WebIdentityToken(issuer, subject, audience, 3*time.Hour)), 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.t.Setenv(EnvRole, RolePod)
	e.t.Setenv(EnvWebToken, file)
}

// BreakChain gives the SDK's chain settings that it refuses.
func (e *Env) BreakChain() {
	e.t.Setenv("AWS_ACCESS_KEY_ID", "")
	e.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	e.t.Setenv(EnvWebToken, "/nowhere") // without AWS_ROLE_ARN
}

// Actions returns the actions of the calls so far, in the order of their arrival.
func (e *Env) Actions() []string { return Actions(e.Sim) }

// Count returns how often an action was called.
func (e *Env) Count(action string) int { return Count(e.Sim, action) }

// LastKey returns the id of the key that the last call was signed with.
func (e *Env) LastKey() string {
	calls := e.Calls()
	return calls[len(calls)-1].AccessKeyID
}

// CredentialCalls returns the number of calls that got credentials.
func (e *Env) CredentialCalls() int {
	return e.Count("AssumeRole") + e.Count("AssumeRoleWithWebIdentity") + e.Agent.Requests()
}

// ExpectCredentialCalls fails the test unless credentials were got n times. It waits a
// little, because the first of two roles is refreshed in the background.
func (e *Env) ExpectCredentialCalls(n int) {
	e.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); e.CredentialCalls() < n && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := e.CredentialCalls(); got != n {
		e.t.Errorf("there were %d calls for credentials, want %d", got, n)
	}
}

// ExpectNoSecret fails the test if a secret is in one of the texts, or in the log.
func (e *Env) ExpectNoSecret(texts ...string) {
	e.t.Helper()
	all := strings.Join(texts, "\n") + e.Log.String()
	for _, secret := range e.Secrets {
		if strings.Contains(all, secret) {
			e.t.Errorf("a secret is in %s", all)
		}
	}
}

// Method is an authentication method that uses sessions.
type Method struct {
	Name      string
	Auth      messages.Auth
	Principal string // the end of the broker's ARN
	Calls     int    // that it takes to get credentials
}

// Methods are the authentication methods that use sessions.
var Methods = []Method{
	{"assume_role", messages.Auth{Method: messages.AuthAssumeRole, RoleARN: RoleOne, ExternalID: "lessor:1"}, "one/inst-1", 1},
	{"irsa", messages.Auth{Method: messages.AuthIRSA}, "pod/inst-1", 1},
	{"irsa, second role", messages.Auth{Method: messages.AuthIRSA, RoleARN: RolePod, AssumeRoleARN: RoleTwo, ExternalID: "lessor:2"}, "two/inst-1", 2},
	{"pod_identity", messages.Auth{Method: messages.AuthPodIdentity}, "pod/eks-cluster-pod", 1},
	{"pod_identity, second role", messages.Auth{Method: messages.AuthPodIdentity, AssumeRoleARN: RoleTwo, ExternalID: "lessor:2"}, "two/inst-1", 2},
}

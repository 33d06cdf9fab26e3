//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	authAccount = "123456789012"
	authIssuer  = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
	authBase    = "arn:aws:iam::" + authAccount + ":user/base" // assumes the role
	authProject = "my-project"
	authPod     = "lessor/broker" // the Kubernetes service account
)

// authMethods has a definition for each method of authentication, and a principal for each
// with just the permissions and the trust policy that the policy command prints.
type authMethods struct {
	*processes
	t                  *testing.T
	lessor             clitest.Terminal // runs the policy command, which needs no broker
	definitions        map[string]string
	id, baseID, ownID  string   // access keys of the users
	secrets            []string // their secret keys
	agent              *iamsim.Agent
	secret, baseSecret string
}

// define adds a definition and returns the policy of its principal.
func (m *authMethods) define(method, auth string) string {
	m.t.Helper()
	name := strings.ReplaceAll(method, "_", "-")
	m.definitions[name] = strings.NewReplacer("name: ci", "name: "+name, "/lessor/ci/", "/lessor/"+name+"/").Replace(ciSecret) +
		"  auth: {method: " + method + auth + "}\n"
	return m.lessor.OK(m.t, "policy", "--file", definitionFile(m.t, m.definitions[name]), "--account", authAccount)
}

// role adds a role with a policy, and the trust policy for the flags.
func (m *authMethods) role(name, policy string, trust ...string) {
	m.t.Helper()
	m.sim.AddRole(name, m.lessor.OK(m.t, append([]string{"policy", "--trust"}, trust...)...))
	m.sim.AddRolePolicy(name, "lessor", policy)
}

// newAuthMethods creates the definitions and the principals, and sets the broker's
// environment variables that the methods need.
func newAuthMethods(t *testing.T) *authMethods {
	t.Helper()
	m := &authMethods{processes: newProcesses(t), t: t, lessor: shell(nil), definitions: map[string]string{}}
	var ownSecret string
	m.id, m.secret = m.sim.AddPrincipalWithPolicy("default", m.define("default", ""))
	m.baseID, m.baseSecret = m.sim.AddPrincipalWithPolicy("base", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:*","Resource":"*"}]}`)
	m.role("assumed", m.define("assume_role", ", role_arn: 'arn:aws:iam::"+authAccount+":role/assumed'"), "assume-role", "--principal", authBase, "--external-id", authProject)
	m.sim.AddOIDCProvider(authIssuer, "sts.amazonaws.com")
	m.role("web", m.define("irsa", ", role_arn: 'arn:aws:iam::"+authAccount+":role/web'"),
		"irsa", "--account", authAccount, "--oidc-provider", authIssuer, "--service-account", authPod)
	m.role("pod", m.define("pod_identity", ""), "pod-identity")
	m.ownID, ownSecret = m.sim.AddPrincipalWithPolicy("own", m.define("access_key", ", access_key_id: AKIAIOSFODNN7EXAMPLEEXAMPLE00, secret_access_key: geheim"))
	m.definitions["access-key"] = strings.NewReplacer("AKIAIOSFODNN7EXAMPLEEXAMPLE00", m.ownID, "geheim", ownSecret).Replace(m.definitions["access-key"])
	m.secrets = []string{m.secret, m.baseSecret, ownSecret}
	m.setVariables()
	return m
}

// setVariables sets the environment variables of the methods, and starts the agent of
// pod_identity.
func (m *authMethods) setVariables() {
	m.t.Helper()
	m.agent = m.sim.NewAgent("pod")
	m.agent.SetSessionDuration(time.Hour)
	m.agent.SetToken("the pod's token", time.Time{})
	node, err := m.agent.Start()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = node.Close() }) // the test ends
	token := m.sim.WebIdentityToken(authIssuer, "system:serviceaccount:lessor:broker", "sts.amazonaws.com", time.Hour)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": m.id, "AWS_SECRET_ACCESS_KEY": m.secret,
		"DYNAMIC_SECRET_AWS_ACCESS_KEY_ID": m.baseID, "DYNAMIC_SECRET_AWS_SECRET_ACCESS_KEY": m.baseSecret,
		"KUBERNETES_AUTO_FETCH_SERVICE_ACCOUNT_TOKEN": "true",
		"AWS_WEB_IDENTITY_TOKEN_FILE":                 definitionFile(m.t, token+"\n"),
		"AWS_CONTAINER_CREDENTIALS_FULL_URI":          node.URL + "/v1/credentials",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE":      definitionFile(m.t, "the pod's token\n"),
	} {
		m.variables[name] = value
	}
}

// useLease requests, renews and revokes a lease of the method's secret, and checks who
// created its user.
func (m *authMethods) useLease(x clitest.Terminal, name, keyID, arn string) {
	m.t.Helper()
	x.OK(m.t, "secret", "put", definitionFile(m.t, m.definitions[name]))
	lease := x.Reply(m.t, "request", name, "-i", "alice")
	if by := m.creator(lease.Credentials.Username); !strings.HasPrefix(by, keyID) {
		m.t.Errorf("%s: the user was created with the key %s", name, by)
	}
	if u, _ := m.sim.User(lease.Credentials.Username); u.Path != "/lessor/"+name+"/" {
		m.t.Errorf("%s: the user is %s", name, u.ARN)
	}
	if as := x.Reply(m.t, "secret", "get", name).Secret.Connection; !strings.HasPrefix(as.ARN, arn) || as.Account != authAccount {
		m.t.Errorf("%s: the broker is %+v", name, as)
	}
	x.OK(m.t, "renew", lease.Lease.Name, "--ttl", "2h")
	x.OK(m.t, "revoke", lease.Lease.Name)
}

// checkCalls checks that no call was denied, and that the role was assumed once.
func (m *authMethods) checkCalls() {
	m.t.Helper()
	assumed := 0
	for _, c := range m.sim.Calls() {
		switch {
		case c.Code == "AccessDenied":
			m.t.Errorf("%s is denied", c.Action)
		case c.Action == "AssumeRole" && (c.AccessKeyID != m.baseID || c.Params.Get("ExternalId") != authProject):
			m.t.Errorf("the role is assumed by %s with the external id %q", c.AccessKeyID, c.Params.Get("ExternalId"))
		case c.Action == "AssumeRole":
			assumed++
		}
	}
	if assumed != 1 || m.agent.Requests() != 1 {
		m.t.Errorf("AssumeRole was called %d times, and the agent %d times", assumed, m.agent.Requests())
	}
}

// TestEveryAuthMethod runs one broker with a secret of each method.
func TestEveryAuthMethod(t *testing.T) {
	t.Parallel()
	m := newAuthMethods(t)
	p, x := m.serve("--project-id", authProject, "--log-level", "debug")
	for name, want := range map[string]struct{ arn, keyID string }{
		"default":      {"arn:aws:iam::" + authAccount + ":user/default", m.id},
		"access-key":   {"arn:aws:iam::" + authAccount + ":user/own", m.ownID},
		"assume-role":  {"arn:aws:sts::" + authAccount + ":assumed-role/assumed/", "ASIA"},
		"irsa":         {"arn:aws:sts::" + authAccount + ":assumed-role/web/", "ASIA"},
		"pod-identity": {"arn:aws:sts::" + authAccount + ":assumed-role/pod/", "ASIA"},
	} {
		m.useLease(x, name, want.keyID, want.arn)
	}
	lease := x.Reply(t, "request", "default", "-i", "alice")
	x.OK(t, "secret", "check", "default")
	m.checkCalls()
	events := x.OK(t, "events", "--no-follow", "--json")
	p.Stop()
	for _, hidden := range m.secrets {
		if leak.Contains([]byte(p.Stderr.String()+events), hidden) {
			t.Error("the broker's own secret key is shown")
		}
	}
	m.searchAll(m.store, events, lease.Lease.AccessKeyID)
}

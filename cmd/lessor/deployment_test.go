//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
)

// ownKey is a definition with an access key of its own.
const ownKey = `name: ci
default_ttl: 1h
max_ttl: 24h
tags: {team: "12"}
aws:
  region: eu-central-1
  path: /lessor/ci/
  groups: [deployers]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
  auth: {method: access_key, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: geheim/geheim}
`

// plain is a definition that uses the broker's own credentials.
const plain = "name: ci\naws: {path: /lessor/ci/, groups: [deployers]}\n"

// deployment is a broker in this process and a terminal that is connected to it.
type deployment struct {
	clitest.Terminal
	*clitest.Deployment
	t *testing.T
}

// newDeployment starts a deployment, which ends with the test.
func newDeployment(t *testing.T, o clitest.Options) *deployment {
	t.Helper()
	d := clitest.NewDeployment(t, o)
	return &deployment{Terminal: at(d.URL()), Deployment: d, t: t}
}

// allBut returns a policy that allows everything except some actions.
func allBut(actions string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":[` + actions + `],"Resource":"*"}]}`
}

// withKey returns ownKey with an existing access key.
func withKey(id, secret string) string {
	return strings.NewReplacer("AKIAIOSFODNN7EXAMPLE", id, "geheim/geheim", secret).Replace(ownKey)
}

// definitionFile writes a file with a definition.
func definitionFile(t *testing.T, definition string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "definition.yaml")
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// put stores a definition without a check.
func (o *deployment) put(definition string) {
	o.t.Helper()
	o.OK(o.t, "secret", "put", definitionFile(o.t, definition), "--no-check")
}

// putFile stores a definition as if it came from a file.
func (o *deployment) putFile(definition string) {
	o.t.Helper()
	d, err := secretfile.Parse([]byte(definition))
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.Broker.Secrets().Put(o.t.Context(), d, consumer.SourceFile); err != nil {
		o.t.Fatal(err)
	}
}

// lease leases a secret to alice.
func (o *deployment) lease(secret string) messages.Reply {
	o.t.Helper()
	return o.Reply(o.t, "request", secret, "-i", "alice")
}

// allowAll makes AWS refuse nothing any more, and retries to revoke these leases.
func (o *deployment) allowAll(leases ...messages.Reply) {
	o.t.Helper()
	o.Sim.SetHook(nil)
	for _, l := range leases {
		o.OK(o.t, "revoke", l.Lease.Name)
	}
}

// justNow matches a time within the last minute.
var justNow = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \((now|\d+s ago)\)`)

// expect runs a command and checks its exit code, that its output contains these texts, and
// that it contains no secret key. Times within the last minute are "just now".
func (o *deployment) expect(code int, stdout, stderr string, args ...string) {
	o.t.Helper()
	out, errs, got := o.Run(o.t.Context(), args...)
	out = justNow.ReplaceAllString(out, "just now")
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
		o.t.Errorf("lessor %s: exit code %d\n%s%s\nwant %d\n%s%s", strings.Join(args, " "), got, out, errs, code, stdout, stderr)
	}
	for _, secret := range o.SecretKeys() {
		if leak.Contains([]byte(out+errs), secret) {
			o.t.Errorf("lessor %s shows a secret key", args)
		}
	}
}

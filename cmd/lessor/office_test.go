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

// ownKey is a definition with a secret key.
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

// plain is a definition that is leased with the broker's own credentials.
const plain = "name: ci\naws: {path: /lessor/ci/, groups: [deployers]}\n"

// office is a deployment, and a terminal at which its operator sits.
type office struct {
	clitest.Terminal
	*clitest.Deployment
	t *testing.T
}

func newOffice(t *testing.T, o clitest.Options) *office {
	t.Helper()
	d := clitest.NewDeployment(t, o)
	return &office{Terminal: at(d.Server.URL()), Deployment: d, t: t}
}

// allBut is a policy with every right but some.
func allBut(actions string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":[` + actions + `],"Resource":"*"}]}`
}

// withKey is ownKey with a key that there is.
func withKey(id, secret string) string {
	return strings.NewReplacer("AKIAIOSFODNN7EXAMPLE", id, "geheim/geheim", secret).Replace(ownKey)
}

// written is a file with a definition.
func written(t *testing.T, definition string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "definition.yaml")
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// put stores a definition without trying it out.
func (o *office) put(definition string) {
	o.t.Helper()
	o.OK(o.t, "secret", "put", written(o.t, definition), "--no-check")
}

// putFile stores a definition as one that comes from a file.
func (o *office) putFile(definition string) {
	o.t.Helper()
	d, err := secretfile.Parse([]byte(definition))
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.Broker.Secrets().Put(o.t.Context(), d, consumer.SourceFile); err != nil {
		o.t.Fatal(err)
	}
}

// lease leases a secret.
func (o *office) lease(secret string) messages.Reply {
	o.t.Helper()
	return o.Reply(o.t, "request", secret, "-i", "alice")
}

// relent has AWS refuse nothing any more. What the broker would try again in a
// while, the end of these leases, it tries now.
func (o *office) relent(leases ...messages.Reply) {
	o.t.Helper()
	o.Sim.SetHook(nil)
	for _, l := range leases {
		o.OK(o.t, "revoke", l.Lease.Name)
	}
}

// just is a moment that has just been.
var just = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \((now|\d+s ago)\)`)

// says runs a command and checks what it prints, and that no secret key is in it.
// Moments that have just been are "just now".
func (o *office) says(code int, stdout, stderr string, args ...string) {
	o.t.Helper()
	out, errs, got := o.Run(o.t.Context(), args...)
	out = just.ReplaceAllString(out, "just now")
	if got != code || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
		o.t.Errorf("lessor %s: exit code %d\n%s%s\nwant %d\n%s%s", strings.Join(args, " "), got, out, errs, code, stdout, stderr)
	}
	for _, secret := range o.SecretKeys() {
		if leak.Contains([]byte(out+errs), secret) {
			o.t.Errorf("lessor %s shows a secret key", args)
		}
	}
}

//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// site is where brokers run as processes: a simulated AWS account, a folder for
// the store and one for definitions. It knows every process, so as to search
// what they left behind.
type site struct {
	t              testing.TB
	sim            *iamsim.Sim
	variables      map[string]string // of the brokers
	store, secrets string
	processes      []*clitest.Process
	pages          []string // that brokers have shown
}

// ciSecret is the definition that most tests lease.
const ciSecret = `name: ci
default_ttl: 1h
max_ttl: 24h
aws:
  region: eu-central-1
  path: /lessor/ci/
  groups: [deployers]
  managed_policies: [arn:aws:iam::aws:policy/ReadOnlyAccess]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
`

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, sim: iamsim.New(iamsim.Options{}), store: filepath.Join(t.TempDir(), "store"), secrets: t.TempDir()}
	s.sim.AddGroup("deployers")
	s.sim.AddGroup("demo")
	aws, err := s.sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() }) // the account goes with the test
	s.variables = s.principal("broker")
	s.variables["AWS_ENDPOINT_URL"] = aws.URL
	s.define("ci.yaml", ciSecret)
	t.Cleanup(s.search)
	return s
}

// principal makes somebody whom brokers can be, as the SDK's variables.
func (s *site) principal(name string) map[string]string {
	id, secret := s.sim.AddPrincipal(name)
	return map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret}
}

func (s *site) define(file, definition string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.secrets, file), []byte(definition), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start starts lessor with the site's AWS account; more goes over the site's
// variables.
func (s *site) start(more map[string]string, args ...string) *clitest.Process {
	s.t.Helper()
	variables := map[string]string{}
	for _, set := range []map[string]string{s.variables, more} {
		for name, value := range set {
			variables[name] = value
		}
	}
	p := clitest.Start(s.t, variables, args...)
	s.processes = append(s.processes, p)
	return p
}

// serve starts a broker with everything in its process and waits until it is up.
func (s *site) serve(args ...string) (*clitest.Process, clitest.Terminal) {
	s.t.Helper()
	if !slices.Contains(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	p := s.start(nil, append([]string{"serve", "--embedded", "--store", s.store, "--secrets", s.secrets}, args...)...)
	p.Logs("broker is up")
	return p, at(fmt.Sprint(p.Logs("embedded NATS server")["url"]))
}

// kept is all that is in a store and all that brokers wrote, by where.
func (s *site) kept(store string) map[string][]byte {
	s.t.Helper()
	kept := map[string][]byte{}
	for i, page := range s.pages {
		kept[fmt.Sprintf("page %d", i+1)] = []byte(page)
	}
	for i, p := range s.processes {
		if p.Cmd.Args[1] == "serve" {
			kept[fmt.Sprintf("what process %d wrote", i+1)] = []byte(p.Stdout.String() + p.Stderr.String())
		}
	}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kept[path], err = os.ReadFile(path)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return kept
}

// search looks, when the test is over and its processes have ended, for every secret
// access key that AWS ever issued.
func (s *site) search() {
	for where, data := range s.kept(s.store) {
		for _, secret := range s.sim.IssuedSecrets() {
			if leak.Contains(data, secret) {
				s.t.Errorf("a secret access key is in %s", where)
			}
		}
	}
}

// leaves searches for every secret access key that AWS ever issued: in the store,
// in all that processes wrote, and in the events. The search must be able to
// find something: what is no secret, the access key id, is in store and events.
func (s *site) leaves(store, events string, accessKeyID string) {
	s.t.Helper()
	kept := s.kept(store)
	kept["the events"] = []byte(events)
	secrets := s.sim.IssuedSecrets()
	if len(secrets) == 0 {
		s.t.Error("AWS has issued no key")
	}
	found := 0
	for where, data := range kept {
		if leak.Contains(data, accessKeyID) {
			found++
		}
		for _, secret := range secrets {
			if leak.Contains(data, secret) {
				s.t.Errorf("a secret access key is in %s", where)
			}
		}
	}
	if found < 2 || !leak.Contains([]byte(events), accessKeyID) {
		s.t.Errorf("the access key id is in %d places only; the search finds nothing", found)
	}
}

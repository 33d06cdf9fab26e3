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

// processes runs brokers as processes of their own, with a simulated AWS account, a folder
// for the store and one for definitions. After the test it searches the store and the
// output of every process for secret keys.
type processes struct {
	t              testing.TB
	sim            *iamsim.Sim
	variables      map[string]string // the brokers' environment
	store, secrets string
	started        []*clitest.Process
	pages          []string // metrics pages, which are searched too
}

// ciSecret is the definition in the folder.
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

func newProcesses(t testing.TB) *processes {
	t.Helper()
	s := &processes{t: t, sim: iamsim.New(iamsim.Options{}), store: filepath.Join(t.TempDir(), "store"), secrets: t.TempDir()}
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

// principal adds a principal to the AWS account and returns its environment variables.
func (s *processes) principal(name string) map[string]string {
	id, secret := s.sim.AddPrincipal(name)
	return map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret}
}

// define writes a file with a definition.
func (s *processes) define(file, definition string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.secrets, file), []byte(definition), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start starts lessor with the variables, and with more over them.
func (s *processes) start(more map[string]string, args ...string) *clitest.Process {
	s.t.Helper()
	variables := map[string]string{}
	for _, set := range []map[string]string{s.variables, more} {
		for name, value := range set {
			variables[name] = value
		}
	}
	p := clitest.Start(s.t, variables, args...)
	s.started = append(s.started, p)
	return p
}

// serve starts a broker with an embedded NATS server and waits until it is up.
func (s *processes) serve(args ...string) (*clitest.Process, clitest.Terminal) {
	s.t.Helper()
	if !slices.Contains(args, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	p := s.start(nil, append([]string{"serve", "--embedded", "--store", s.store, "--secrets", s.secrets}, args...)...)
	p.Logs("broker is up")
	return p, at(fmt.Sprint(p.Logs("embedded NATS server")["url"]))
}

// output returns everything in a store and everything that brokers wrote, by place.
func (s *processes) output(store string) map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{}
	for i, page := range s.pages {
		all[fmt.Sprintf("page %d", i+1)] = []byte(page)
	}
	for i, p := range s.started {
		if p.Cmd.Args[1] == "serve" {
			all[fmt.Sprintf("the output of process %d", i+1)] = []byte(p.Stdout.String() + p.Stderr.String())
		}
	}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return all
}

// search searches for every secret access key that AWS issued, after the test and its
// processes have ended.
func (s *processes) search() {
	for where, data := range s.output(s.store) {
		for _, secret := range s.sim.IssuedSecrets() {
			if leak.Contains(data, secret) {
				s.t.Errorf("a secret access key is in %s", where)
			}
		}
	}
}

// searchAll searches the store, the output of the processes and the events for every secret
// access key that AWS issued. To show that the search works, it must find the access key
// id, which is not secret, in the store and in the events.
func (s *processes) searchAll(store, events string, accessKeyID string) {
	s.t.Helper()
	all := s.output(store)
	all["the events"] = []byte(events)
	secrets := s.sim.IssuedSecrets()
	if len(secrets) == 0 {
		s.t.Error("AWS has issued no key")
	}
	found := 0
	for where, data := range all {
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
		s.t.Errorf("the access key id is in %d places only: the search does not work", found)
	}
}

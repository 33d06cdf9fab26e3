package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// newSoakAWSCmd is the simulated AWS account of a soak, in a process of its own.
func newSoakAWSCmd(env *environment) *cobra.Command {
	var listen, control string
	cmd := &cobra.Command{
		Use:     "aws",
		Short:   "The simulated AWS account of a soak",
		Hidden:  true,
		Example: "  lessor soak aws --listen 127.0.0.1:4599 --control 127.0.0.1:4600",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runSoakAWS(cmd.Context(), env, listen, control) },
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` of IAM and STS")
	f.StringVar(&control, "control", "127.0.0.1:0", "`address` at which the soak sets faults and looks into the account")
	return cmd
}

// soakCalls counts what AWS was asked.
type soakCalls struct {
	Calls   int64          `json:"calls"`
	Dropped int64          `json:"dropped"` // carried out or not, and not answered
	Empty   int64          `json:"empty"`   // answered with nothing
	Codes   map[string]int `json:"codes"`   // refused or failed, by AWS's code
}

// faults are the calls that the soak disturbed.
func (c soakCalls) faults() int {
	n := int(c.Dropped + c.Empty)
	for _, code := range []string{"Throttling", "ServiceFailure", "ConcurrentModification"} {
		n += c.Codes[code]
	}
	return n
}

// soakAccount is the account and its counters.
type soakAccount struct {
	*iamsim.Sim
	calls, dropped, empty atomic.Int64

	mu     sync.Mutex
	codes  map[string]int
	hidden []string // secret keys of those whom the soak has made
}

func newSoakAccount() *soakAccount {
	a := &soakAccount{Sim: iamsim.New(iamsim.Options{NoCallLog: true}), codes: map[string]int{}}
	a.AddGroup("soakers")
	a.AddRole(soakRole, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"soak"}}}]}`)
	return a
}

// soakAnswer remembers what AWS answered.
type soakAnswer struct {
	http.ResponseWriter
	status int
	body   []byte // its beginning
}

func (w *soakAnswer) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *soakAnswer) Write(p []byte) (int, error) {
	if room := 1024 - len(w.body); room > 0 {
		w.body = append(w.body, p[:min(room, len(p))]...)
	}
	return w.ResponseWriter.Write(p)
}

// code is AWS's code of an error.
func (w *soakAnswer) code() string {
	_, rest, _ := strings.Cut(string(w.body), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func (a *soakAccount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	s, answered := &soakAnswer{ResponseWriter: w, status: http.StatusOK}, false
	defer func() {
		switch {
		case !answered:
			a.dropped.Add(1)
		case s.status >= http.StatusBadRequest:
			a.mu.Lock()
			defer a.mu.Unlock()
			a.codes[s.code()]++
		case len(s.body) == 0:
			a.empty.Add(1)
		}
	}()
	a.Sim.ServeHTTP(s, r)
	answered = true
}

// soakUser is a user of the account as an auditor sees it.
type soakUser struct {
	Name    string    `json:"name"`
	Lease   string    `json:"lease"`
	Created time.Time `json:"created"`
	Key     string    `json:"key"`
	Allowed bool      `json:"allowed"` // AWS lets the key do something now
}

func (a *soakAccount) users() []soakUser {
	all := []soakUser{}
	for _, u := range a.Users() {
		s := soakUser{Name: u.Name, Lease: u.Tags["lessor:lease"], Created: u.CreateDate}
		for _, k := range u.AccessKeys {
			s.Key = k.ID
			if ok, err := a.Allowed(k.ID, "s3:GetObject", "arn:aws:s3:::soak/x"); ok && err == nil {
				s.Allowed = true
			}
		}
		all = append(all, s)
	}
	return all
}

// control is what the soak asks of the account's process.
func (a *soakAccount) control() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // whoever asked has gone, or not
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f iamsim.Faults
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.SetFaults(f)
		answer(w, f)
	})
	mux.HandleFunc("POST /principal", func(w http.ResponseWriter, r *http.Request) {
		id, secret := a.AddPrincipal(r.FormValue("name"))
		a.hide(secret)
		answer(w, [2]string{id, secret})
	})
	mux.HandleFunc("POST /lost", func(w http.ResponseWriter, r *http.Request) {
		name, lease := r.FormValue("name"), r.FormValue("lease")
		a.AddUser(name, "/lessor/soak/", map[string]string{"lessor:installation": r.FormValue("installation"), "lessor:lease": lease, "lessor:attempt": "1"})
		_, secret := a.AddAccessKey(name)
		a.hide(secret)
		answer(w, name)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		u, _ := a.User(r.FormValue("name"))
		answer(w, u.AccessKeys)
	})
	mux.HandleFunc("GET /users", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.users()) })
	mux.HandleFunc("GET /secrets", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.allSecrets()) })
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		answer(w, soakCalls{a.calls.Load(), a.dropped.Load(), a.empty.Load(), a.codes})
	})
	return mux
}

func (a *soakAccount) hide(secret string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hidden = append(a.hidden, secret)
}

// allSecrets are the secret keys that must be nowhere in clear.
func (a *soakAccount) allSecrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(a.IssuedSecrets(), a.hidden...)
}

func runSoakAWS(ctx context.Context, env *environment, listen, control string) error {
	a := newSoakAccount()
	for addr, h := range map[string]http.Handler{listen: a, control: a.control()} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("the AWS simulator: %w; choose another address", err)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = s.Serve(l) }() // ends with Close
		defer func() { _ = s.Close() }()
	}
	if _, err := fmt.Fprintln(env.Stdout, "AWS", listen); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// awsControl asks the account's process.
type awsControl struct{ url string }

// ask sends a question and reads the answer.
func (c awsControl) ask(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

func (c awsControl) faults(ctx context.Context, f iamsim.Faults) error {
	return c.ask(ctx, http.MethodPost, "/faults", f, &iamsim.Faults{})
}

func (c awsControl) principal(ctx context.Context, name string) (pair [2]string, err error) {
	err = c.ask(ctx, http.MethodPost, "/principal?name="+name, nil, &pair)
	return pair, err
}

// soakLost begins the lease's name on a user that was lost on purpose.
const soakLost = "lost.lost."

// lose makes a user of the installation that no lease knows, as a lost record leaves
// one.
func (c awsControl) lose(ctx context.Context, installation, name string) error {
	q := url.Values{"name": {name}, "installation": {installation}, "lease": {soakLost + name}}
	return c.ask(ctx, http.MethodPost, "/lost?"+q.Encode(), nil, new(string))
}

// keys are the access keys of a user.
func (c awsControl) keys(ctx context.Context, name string) (all []iamsim.AccessKey, err error) {
	err = c.ask(ctx, http.MethodGet, "/keys?name="+url.QueryEscape(name), nil, &all)
	return all, err
}

func (c awsControl) users(ctx context.Context) (all []soakUser, err error) {
	err = c.ask(ctx, http.MethodGet, "/users", nil, &all)
	return all, err
}

// user is the user of a name, or false.
func (c awsControl) user(ctx context.Context, name string) (soakUser, bool, error) {
	all, err := c.users(ctx)
	for _, u := range all {
		if u.Name == name {
			return u, true, err
		}
	}
	return soakUser{}, false, err
}

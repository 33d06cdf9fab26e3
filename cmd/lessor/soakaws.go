package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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
	Calls   int64 `json:"calls"`
	Refused int64 `json:"refused"` // 4xx: throttled, not visible yet, and what is really wrong
	Failed  int64 `json:"failed"`  // 5xx
	Dropped int64 `json:"dropped"` // carried out or not, and not answered
	// RefusedOf is what was refused, by the call's name.
	RefusedOf map[string]int `json:"refused_of"`
}

// soakAccount is the account and its counters.
type soakAccount struct {
	*iamsim.Sim
	calls, refused, failed, dropped atomic.Int64

	mu        sync.Mutex
	refusedOf map[string]int
}

// statusWriter remembers a status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (a *soakAccount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	action := peekAction(r)
	s, answered := &statusWriter{ResponseWriter: w, status: http.StatusOK}, false
	defer func() {
		switch {
		case !answered:
			a.dropped.Add(1)
		case s.status >= http.StatusInternalServerError:
			a.failed.Add(1)
		case s.status >= http.StatusBadRequest:
			a.refused.Add(1)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.refusedOf[action]++
		}
	}()
	a.Sim.ServeHTTP(s, r)
	answered = true
}

// peekAction reads a call's name from its body, which stays to be read.
func peekAction(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") == "" {
		return "?"
	}
	return form.Get("Action")
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
		answer(w, [2]string{id, secret})
	})
	mux.HandleFunc("GET /users", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.users()) })
	mux.HandleFunc("GET /secrets", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.IssuedSecrets()) })
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		answer(w, soakCalls{a.calls.Load(), a.refused.Load(), a.failed.Load(), a.dropped.Load(), a.refusedOf})
	})
	return mux
}

func runSoakAWS(ctx context.Context, env *environment, listen, control string) error {
	a := &soakAccount{Sim: iamsim.New(iamsim.Options{NoCallLog: true}), refusedOf: map[string]int{}}
	a.AddGroup("soakers")
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

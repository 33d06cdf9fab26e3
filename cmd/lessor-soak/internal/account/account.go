// Package account is the simulated AWS account of the soak test: it counts calls, and has
// an HTTP API by which the test sets faults and inspects users.
package account

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// Role is the name of the role whose sessions are leased.
const Role = "role"

// Calls counts the calls to AWS.
type Calls struct {
	Calls   int64          `json:"calls"`
	Dropped int64          `json:"dropped"` // without an answer, whether they were carried out or not
	Empty   int64          `json:"empty"`   // with an empty answer
	Codes   map[string]int `json:"codes"`   // errors, by AWS's code
}

// Disturbed returns the number of calls that the faults of the test disturbed.
func (c Calls) Disturbed() int {
	n := int(c.Dropped + c.Empty)
	for _, code := range []string{"Throttling", "ServiceFailure", "ConcurrentModification"} {
		n += c.Codes[code]
	}
	return n
}

// Account is a simulated AWS account that counts calls.
type Account struct {
	*iamsim.Sim
	calls, dropped, empty atomic.Int64

	mu     sync.Mutex
	codes  map[string]int
	hidden []string // secret keys of users that the test has created
}

// New returns an account without users, with the group and the role of the definitions.
func New() *Account {
	a := &Account{Sim: iamsim.New(iamsim.Options{NoCallLog: true}), codes: map[string]int{}}
	a.AddGroup("soakers")
	a.AddRole(Role, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"soak"}}}]}`)
	return a
}

// recorder keeps the status and the begin of the body of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	body   []byte // up to 1 KiB
}

func (w *recorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if room := 1024 - len(w.body); room > 0 {
		w.body = append(w.body, p[:min(room, len(p))]...)
	}
	return w.ResponseWriter.Write(p)
}

// code returns AWS's code of an error.
func (w *recorder) code() string {
	_, rest, _ := strings.Cut(string(w.body), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

// ServeHTTP answers a call to IAM or STS and counts it.
func (a *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	s, answered := &recorder{ResponseWriter: w, status: http.StatusOK}, false
	defer func() {
		switch {
		case !answered: // the simulator panics to drop the connection
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

// User is an IAM user as the audit needs it.
type User struct {
	Name    string    `json:"name"`
	Lease   string    `json:"lease"` // the lease's name, from the user's tags
	Created time.Time `json:"created"`
	Key     string    `json:"key"`     // the access key's ID; empty: it has none
	Allowed bool      `json:"allowed"` // AWS allows the key an action at present
}

func (a *Account) users() []User {
	all := []User{}
	for _, u := range a.Users() {
		s := User{Name: u.Name, Lease: u.Tags["lessor:lease"], Created: u.CreateDate}
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

// ControlHandler returns the HTTP API for [Control].
func (a *Account) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // the client sees a lost answer
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
	mux.HandleFunc("POST /orphan", func(w http.ResponseWriter, r *http.Request) {
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
		answer(w, Calls{a.calls.Load(), a.dropped.Load(), a.empty.Load(), a.codes})
	})
	return mux
}

func (a *Account) hide(secret string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hidden = append(a.hidden, secret)
}

// allSecrets returns the secret keys that must not be in a file in clear text.
func (a *Account) allSecrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(a.IssuedSecrets(), a.hidden...)
}

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

// Role is the role whose sessions are leased.
const Role = "role"

// Calls counts what AWS was asked.
type Calls struct {
	Calls   int64          `json:"calls"`
	Dropped int64          `json:"dropped"` // carried out or not, and not answered
	Empty   int64          `json:"empty"`   // answered with nothing
	Codes   map[string]int `json:"codes"`   // refused or failed, by AWS's code
}

// Faults are the calls that the soak disturbed.
func (c Calls) Faults() int {
	n := int(c.Dropped + c.Empty)
	for _, code := range []string{"Throttling", "ServiceFailure", "ConcurrentModification"} {
		n += c.Codes[code]
	}
	return n
}

// Account is the account and its counters.
type Account struct {
	*iamsim.Sim
	calls, dropped, empty atomic.Int64

	mu     sync.Mutex
	codes  map[string]int
	hidden []string // secret keys of those whom the soak has made
}

func New() *Account {
	a := &Account{Sim: iamsim.New(iamsim.Options{NoCallLog: true}), codes: map[string]int{}}
	a.AddGroup("soakers")
	a.AddRole(Role, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"soak"}}}]}`)
	return a
}

// recorder remembers what AWS answered.
type recorder struct {
	http.ResponseWriter
	status int
	body   []byte // its beginning
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

// code is AWS's code of an error.
func (w *recorder) code() string {
	_, rest, _ := strings.Cut(string(w.body), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

func (a *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	s, answered := &recorder{ResponseWriter: w, status: http.StatusOK}, false
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

// User is a user of the account as an auditor sees it.
type User struct {
	Name    string    `json:"name"`
	Lease   string    `json:"lease"`
	Created time.Time `json:"created"`
	Key     string    `json:"key"`
	Allowed bool      `json:"allowed"` // AWS lets the key do something now
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

// Control is what the soak asks of the account's process.
func (a *Account) Control() http.Handler {
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
		answer(w, Calls{a.calls.Load(), a.dropped.Load(), a.empty.Load(), a.codes})
	})
	return mux
}

func (a *Account) hide(secret string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hidden = append(a.hidden, secret)
}

// allSecrets are the secret keys that must be nowhere in clear.
func (a *Account) allSecrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(a.IssuedSecrets(), a.hidden...)
}

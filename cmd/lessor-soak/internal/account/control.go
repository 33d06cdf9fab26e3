package account

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// Control calls the HTTP API of the account's process.
type Control struct{ URL string }

// do sends a request with a JSON body and decodes the answer.
func (c Control) do(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(data))
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

// SetFaults sets the faults of the account.
func (c Control) SetFaults(ctx context.Context, f iamsim.Faults) error {
	return c.do(ctx, http.MethodPost, "/faults", f, &iamsim.Faults{})
}

// AddPrincipal creates a user with all rights and returns its access key, as ID and
// secret.
func (c Control) AddPrincipal(ctx context.Context, name string) (key [2]string, err error) {
	err = c.do(ctx, http.MethodPost, "/principal?name="+name, nil, &key)
	return key, err
}

// OrphanLease is the prefix of the lease's name in the tags of an orphan.
const OrphanLease = "lost.lost."

// AddOrphan creates a user with the tags of the installation and of a lease that does not
// exist.
func (c Control) AddOrphan(ctx context.Context, installation, name string) error {
	q := url.Values{"name": {name}, "installation": {installation}, "lease": {OrphanLease + name}}
	return c.do(ctx, http.MethodPost, "/orphan?"+q.Encode(), nil, new(string))
}

// Keys returns the access keys of a user.
func (c Control) Keys(ctx context.Context, name string) (all []iamsim.AccessKey, err error) {
	err = c.do(ctx, http.MethodGet, "/keys?name="+url.QueryEscape(name), nil, &all)
	return all, err
}

// Users returns all users of leases.
func (c Control) Users(ctx context.Context) (all []User, err error) {
	err = c.do(ctx, http.MethodGet, "/users", nil, &all)
	return all, err
}

// User returns the user with a name. It returns false if there is none.
func (c Control) User(ctx context.Context, name string) (User, bool, error) {
	all, err := c.Users(ctx)
	for _, u := range all {
		if u.Name == name {
			return u, true, err
		}
	}
	return User{}, false, err
}

// Calls returns the counters of the account.
func (c Control) Calls(ctx context.Context) (calls Calls, err error) {
	err = c.do(ctx, http.MethodGet, "/calls", nil, &calls)
	return calls, err
}

// Secrets returns every secret key that the account has issued.
func (c Control) Secrets(ctx context.Context) (all []string, err error) {
	err = c.do(ctx, http.MethodGet, "/secrets", nil, &all)
	return all, err
}

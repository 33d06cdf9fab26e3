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

// Control asks the account's process.
type Control struct{ URL string }

// Ask sends a question and reads the answer.
func (c Control) Ask(ctx context.Context, method, path string, body, into any) error {
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

func (c Control) Faults(ctx context.Context, f iamsim.Faults) error {
	return c.Ask(ctx, http.MethodPost, "/faults", f, &iamsim.Faults{})
}

func (c Control) Principal(ctx context.Context, name string) (pair [2]string, err error) {
	err = c.Ask(ctx, http.MethodPost, "/principal?name="+name, nil, &pair)
	return pair, err
}

// LostPrefix begins the lease's name on a user that was lost on purpose.
const LostPrefix = "lost.lost."

// Lose makes a user of the installation that no lease knows, as a lost record leaves
// one.
func (c Control) Lose(ctx context.Context, installation, name string) error {
	q := url.Values{"name": {name}, "installation": {installation}, "lease": {LostPrefix + name}}
	return c.Ask(ctx, http.MethodPost, "/lost?"+q.Encode(), nil, new(string))
}

// Keys are the access keys of a user.
func (c Control) Keys(ctx context.Context, name string) (all []iamsim.AccessKey, err error) {
	err = c.Ask(ctx, http.MethodGet, "/keys?name="+url.QueryEscape(name), nil, &all)
	return all, err
}

func (c Control) Users(ctx context.Context) (all []User, err error) {
	err = c.Ask(ctx, http.MethodGet, "/users", nil, &all)
	return all, err
}

// User is the user of a name, or false.
func (c Control) User(ctx context.Context, name string) (User, bool, error) {
	all, err := c.Users(ctx)
	for _, u := range all {
		if u.Name == name {
			return u, true, err
		}
	}
	return User{}, false, err
}

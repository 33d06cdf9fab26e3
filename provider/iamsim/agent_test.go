package iamsim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider/iamsim"
)

const trustPods = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],
	"Principal":{"Service":"pods.eks.amazonaws.com"}}]}`

// podCredentials requests credentials from an agent.
func podCredentials(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func TestAgentReturnsSessionsForItsToken(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddRole("pod", trustPods)
	agent := w.NewAgent("pod")
	server, err := agent.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	url := server.URL + "/v1/credentials"
	agent.SetToken("token-1", w.clock.now().Add(time.Hour))
	agent.SetSessionDuration(20 * time.Minute)

	status, body := podCredentials(t, url, "token-1")
	var c struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		AccountID       string `json:"AccountId"`
		Expiration      time.Time
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v: %s", status, err, body)
	}
	if c.AccountID != "123456789012" || !c.Expiration.Equal(w.clock.now().Add(20*time.Minute)) {
		t.Errorf("%+v", c)
	}
	w.want(w.identity(c.AccessKeyID, c.SecretAccessKey, c.Token), "")
	w.want(w.identity(c.AccessKeyID, c.SecretAccessKey, ""), "InvalidClientTokenId")
	w.clock.advance(20 * time.Minute)
	w.want(w.identity(c.AccessKeyID, c.SecretAccessKey, c.Token), "ExpiredToken")

	for name, test := range map[string]struct {
		url, token string
		status     int
		want       string
	}{
		"no token":    {url, "", 400, "cannot be empty"},
		"other token": {url, "token-2", 400, "(InvalidTokenException)"},
		"other path":  {server.URL, "token-1", 404, "404"},
	} {
		if status, body := podCredentials(t, test.url, test.token); status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	w.clock.advance(40 * time.Minute)
	if status, body := podCredentials(t, url, "token-1"); status != 400 || !strings.Contains(body, "token is expired") {
		t.Errorf("expired token: %d %s", status, body)
	}
	agent.SetToken("token-2", time.Time{})
	if status, body := podCredentials(t, url, "token-2"); status != 200 {
		t.Errorf("new token: %d %s", status, body)
	}
	w.SetTrust("pod", trustAccount)
	if status, body := podCredentials(t, url, "token-2"); status != 400 || !strings.Contains(body, "]: (AccessDeniedException): ") {
		t.Errorf("role that does not trust EKS: %d %s", status, body)
	}
	if n := agent.Requests(); n != 6 {
		t.Errorf("counted %d requests", n)
	}
}

package iamsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// podService is the service principal that a pod's role must trust.
const podService = "pods.eks.amazonaws.com"

// podTags are the tags of a pod's session. They are transitive: roles that the session assumes have them, too.
var podTags = []tag{
	{"eks-cluster-arn", "arn:aws:eks:eu-central-1:123456789012:cluster/cluster"}, {"eks-cluster-name", "cluster"},
	{"kubernetes-namespace", "lessor"}, {"kubernetes-service-account", "lessor"},
	{"kubernetes-pod-name", "lessor-0"}, {"kubernetes-pod-uid", "00000000-0000-4000-8000-000000000000"},
}

// Agent simulates the EKS Pod Identity agent on the node of a pod: it returns sessions of a role for the token of the
// pod's service account. It is an http.Handler and safe for concurrent use.
type Agent struct {
	sim  *Sim
	role string

	mu       sync.Mutex
	token    string
	expires  time.Time
	life     time.Duration
	requests int
}

// NewAgent returns an agent for a role of AddRole and a pod of the service account lessor in the namespace lessor. Its
// sessions last six hours, as with AWS. The role must trust the service pods.eks.amazonaws.com. The agent refuses every
// token until SetToken is called.
func (s *Sim) NewAgent(roleName string) *Agent {
	return &Agent{sim: s, role: roleName, life: 6 * time.Hour}
}

// SetToken sets the only token that the agent accepts. It expires by the account's clock; the zero time means never.
func (g *Agent) SetToken(token string, expires time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token, g.expires = token, expires
}

// SetSessionDuration sets the duration of new sessions.
func (g *Agent) SetSessionDuration(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.life = d
}

// Requests returns the number of requests so far, including those with an invalid token.
func (g *Agent) Requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// Start serves the agent on a free port of the loopback interface. The credentials are at /v1/credentials.
func (g *Agent) Start() (*Server, error) { return serveOn(g, "127.0.0.1:0") }

// ServeHTTP returns credentials as JSON. Errors are plain text, as with the real agent, including errors of AWS.
func (g *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/credentials" {
		http.NotFound(w, r)
		return
	}
	now := g.sim.now()
	life, err := g.admit(r.Header.Get("Authorization"), now)
	if err == nil {
		var s *session
		if s, err = g.sim.openPodSession(g.role, life, now); err == nil {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]string{ // the client may be gone
				"AccessKeyId": s.keyID, "SecretAccessKey": s.secret, "Token": s.token,
				"AccountId": g.sim.account.id, "Expiration": s.expires.UTC().Format(time.RFC3339),
			})
			return
		}
	}
	f := asAPIError(err)
	message := f.message
	if f.code != "" {
		message = fmt.Sprintf("[%s]: (%s): %s, fault: client", g.sim.random.requestID(), f.code, f.message)
	}
	http.Error(w, message, f.status)
}

// admit counts a request and checks its token. It returns the duration of the session.
func (g *Agent) admit(token string, now time.Time) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	switch {
	case token == "":
		return 0, &apiError{status: http.StatusBadRequest, message: "Service account token cannot be empty"}
	case token != g.token:
		return 0, &apiError{http.StatusBadRequest, "InvalidTokenException", "The token included in the request is invalid."}
	case !g.expires.IsZero() && !now.Before(g.expires):
		return 0, &apiError{status: http.StatusBadRequest, message: "Service account token failed basic claim validations: token is expired"}
	}
	return g.life, nil
}

// openPodSession opens a session of a role that trusts EKS.
func (s *Sim) openPodSession(roleName string, life time.Duration, now time.Time) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account
	x := a.roles[strings.ToLower(roleName)]
	f := facts{}
	f.setTags(podTags)
	for _, action := range []string{"sts:AssumeRole", "sts:TagSession"} {
		if x == nil || x.trusts(action, f, func(p principal) trust { return trustIf(p.has("Service", podService)) }) == trustsNone {
			return nil, &apiError{http.StatusBadRequest, "AccessDeniedException",
				"Unauthorized Exception! EKS does not have permissions to assume the associated role."}
		}
	}
	const name = "eks-cluster-pod"
	c := caller{arn: a.arn("sts", "assumed-role/"+x.name+"/"+name), id: x.id + ":" + name, role: x, tags: podTags, transitive: podTags}
	return a.newSession(c, life, nil, now), nil
}

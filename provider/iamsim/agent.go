package iamsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// podService is whom the role of a pod trusts.
const podService = "pods.eks.amazonaws.com"

// podTags are the tags of a pod's session. They go along with the sessions of other roles that it assumes.
var podTags = []tag{
	{"eks-cluster-arn", "arn:aws:eks:eu-central-1:123456789012:cluster/cluster"}, {"eks-cluster-name", "cluster"},
	{"kubernetes-namespace", "lessor"}, {"kubernetes-service-account", "lessor"},
	{"kubernetes-pod-name", "lessor-0"}, {"kubernetes-pod-uid", "00000000-0000-4000-8000-000000000000"},
}

// Agent is EKS Pod Identity's agent on the node of a pod: it gives sessions of a role to whoever shows the token of
// the pod's service account. It is an http.Handler, and safe for concurrent use.
type Agent struct {
	sim  *Sim
	role string

	mu       sync.Mutex
	token    string
	expires  time.Time
	life     time.Duration
	requests int
}

// NewAgent makes an agent that gives sessions of a role of AddRole, of six hours, like AWS's, to a pod of the service
// account lessor in the namespace lessor. The role must trust the service pods.eks.amazonaws.com. There is no token that it takes until SetToken says so.
func (s *Sim) NewAgent(roleName string) *Agent {
	return &Agent{sim: s, role: roleName, life: 6 * time.Hour}
}

// SetToken replaces the one token that the agent takes. It expires by the account's clock; zero is never.
func (g *Agent) SetToken(token string, expires time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token, g.expires = token, expires
}

// SetSessionDuration changes how long the sessions last.
func (g *Agent) SetSessionDuration(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.life = d
}

// Requests is how often the agent was asked, with whatever token.
func (g *Agent) Requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// Start serves the agent on a free port of the loopback interface. The credentials are at /v1/credentials.
func (g *Agent) Start() (*Server, error) { return serveOn(g, "127.0.0.1:0") }

// ServeHTTP answers as the agent does: with JSON, but its errors are plain text, also those that AWS has told it.
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
	f := asFault(err)
	message := f.message
	if f.code != "" {
		message = fmt.Sprintf("[%s]: (%s): %s, fault: client", g.sim.random.requestID(), f.code, f.message)
	}
	http.Error(w, message, f.status)
}

// admit counts a request, and checks its token.
func (g *Agent) admit(token string, now time.Time) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests++
	switch {
	case token == "":
		return 0, &fault{status: http.StatusBadRequest, message: "Service account token cannot be empty"}
	case token != g.token:
		return 0, &fault{http.StatusBadRequest, "InvalidTokenException", "The token included in the request is invalid."}
	case !g.expires.IsZero() && !now.Before(g.expires):
		return 0, &fault{status: http.StatusBadRequest, message: "Service account token failed basic claim validations: token is expired"}
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
		if x == nil || x.trusts(action, f, func(p principal) trust { return trustIf(p.has("Service", podService)) }) == trustsNobody {
			return nil, &fault{http.StatusBadRequest, "AccessDeniedException",
				"Unauthorized Exception! EKS does not have permissions to assume the associated role."}
		}
	}
	const name = "eks-cluster-pod"
	c := caller{arn: a.arn("sts", "assumed-role/"+x.name+"/"+name), id: x.id + ":" + name, role: x, tags: podTags, passed: podTags}
	return a.newSession(c, life, nil, now), nil
}

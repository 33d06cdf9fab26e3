// Package awstest contains the fixtures that the tests of several packages below awsiam
// share: definitions, hooks for the simulator, and [Env], an account with everything that
// the authentication methods need.
package awstest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// Names in the simulated account.
const (
	AccountID     = "123456789012"
	UserName      = "lessor-alice-x7"
	Boundary      = "arn:aws:iam::123456789012:policy/lessor-boundary"
	ManagedPolicy = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	OwnPolicy     = "arn:aws:iam::123456789012:policy/teams/deploy"
	LeasedRole    = "arn:aws:iam::123456789012:role/deploy" // of which sessions are leased

	AllowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
)

// Definition returns a definition of users in which every field is set.
func Definition() messages.DynamicSecret {
	return messages.DynamicSecret{
		Name: "ci",
		Tags: map[string]string{"team": "platform"},
		AWS: messages.AWS{
			Region: "eu-central-1", Path: "/lessor/ci/", PermissionsBoundary: Boundary,
			Groups: messages.List{"deployers"}, ManagedPolicies: messages.List{ManagedPolicy},
			InlinePolicy: Allow(`"s3:*"`),
		},
	}
}

// Allow returns a policy that allows an action, given in JSON.
func Allow(action string) messages.Policy {
	return messages.Policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + action + `,"Resource":"*"}]}`)
}

// Many returns a list of n entries; format has one %d.
func Many(n int, format string) messages.List {
	var l messages.List
	for i := range n {
		l = append(l, fmt.Sprintf(format, i))
	}
	return l
}

// UnsetAWS unsets the environment variables of AWS, which are the developer's.
func UnsetAWS() error {
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Actions returns the actions of the calls so far, in the order of their arrival.
func Actions(s *iamsim.Sim) []string {
	var names []string
	for _, c := range s.Calls() {
		names = append(names, c.Action)
	}
	return names
}

// Count returns how often an action was called.
func Count(s *iamsim.Sim, action string) int {
	n := 0
	for _, a := range Actions(s) {
		if a == action {
			n++
		}
	}
	return n
}

// On returns a hook that decides about the first n calls of an action; n < 0 means all.
func On(action string, n int64, v iamsim.Verdict) func(context.Context, iamsim.Call) iamsim.Verdict {
	var seen atomic.Int64
	return func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action != action || (n >= 0 && seen.Add(1) > n) {
			return iamsim.Verdict{}
		}
		return v
	}
}

// Refuse returns the verdict that answers a call with an error.
func Refuse(status int, code string) iamsim.Verdict {
	return iamsim.Verdict{Do: iamsim.Fail, Status: status, Code: code}
}

package natsconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

// Identities are the users of an installation of lessor, by role.
type Identities struct {
	Prefix     string                 `json:"prefix,omitempty"`
	Requesters map[string]SecretNames `json:"requesters"`
	Brokers    []string               `json:"brokers"`
	Operators  []string               `json:"operators"`
	Auditors   []string               `json:"auditors"`
}

// SecretNames are names of dynamic secrets; {"*"} is any secret.
type SecretNames []string

// UnmarshalJSON reads a list of names, or "all".
func (m *SecretNames) UnmarshalJSON(data []byte) error {
	if string(data) == `"all"` {
		*m = SecretNames{"*"}
		return nil
	}
	var names []string
	if err := json.Unmarshal(data, &names); err != nil || len(names) == 0 {
		return errors.New(`what a requester may lease must be a list of dynamic secrets, or "all"`)
	}
	for _, name := range names {
		if err := messages.CheckToken("a dynamic secret's name", name); err != nil {
			return errors.New(messages.AsError(err).Message)
		}
	}
	*m = names
	return nil
}

// ParseIdentities reads a list of identities in YAML or JSON. Names become tokens of
// subjects, and a wildcard would match every identity, so each name is checked.
func ParseIdentities(data []byte) (Identities, error) {
	var p Identities
	if err := yaml.UnmarshalStrict(data, &p); err != nil {
		return p, errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: "))
	}
	if _, err := messages.NewNamespace(p.Prefix); err != nil {
		return p, errors.New(messages.AsError(err).Message)
	}
	requesters := make([]string, 0, len(p.Requesters))
	for name := range p.Requesters {
		requesters = append(requesters, name)
	}
	slices.Sort(requesters)
	for _, role := range []struct {
		name  string
		users []string
	}{{"requester", requesters}, {"broker", p.Brokers}, {"operator", p.Operators}, {"auditor", p.Auditors}} {
		for i, name := range role.users {
			if err := messages.CheckToken("the "+role.name+" "+fmt.Sprintf("%.70q", name), name); err != nil {
				return p, errors.New(messages.AsError(err).Message)
			}
			if slices.Contains(role.users[:i], name) {
				return p, fmt.Errorf("the %s %q is listed twice", role.name, name)
			}
		}
	}
	if len(p.Brokers) == 0 {
		return p, errors.New("brokers: there are none; name at least one")
	}
	for name, secrets := range p.Requesters {
		if len(secrets) == 0 {
			return p, fmt.Errorf(`the requester %q may lease no secrets; give a list of dynamic secrets, or "all"`, name)
		}
	}
	return p, nil
}

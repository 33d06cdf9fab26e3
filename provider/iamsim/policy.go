package iamsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
)

// policy is a well-formed policy document.
type policy struct {
	Version   string
	ID        string `json:"Id"`
	Statement oneOrMany[statement]
}

type statement struct {
	Sid          string
	Effect       string
	Principal    *principal // trust policies only
	Action       scalars
	NotAction    scalars
	Resource     scalars
	NotResource  scalars
	NotPrincipal any                           // not supported
	Condition    map[string]map[string]scalars // operator, key, values
}

// principal is the Principal of a trust policy, by kind: AWS, Federated or Service. In a document it can also be "*".
type principal map[string]scalars

func (p *principal) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		*p = principal{"AWS": {"*"}}
		return nil
	}
	return json.Unmarshal(b, (*map[string]scalars)(p))
}

// oneOrMany is a list whose JSON may be a single element without brackets.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		b = bytes.Join([][]byte{[]byte("["), b, []byte("]")}, nil)
	}
	return strictJSON(b, (*[]T)(l))
}

// scalars is a list of strings whose JSON may have numbers and booleans without quotes. It is nil if it is absent.
type scalars []string

func (l *scalars) UnmarshalJSON(b []byte) error {
	var raw oneOrMany[json.RawMessage]
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*l = scalars{}
	for _, r := range raw {
		var s string
		switch r[0] {
		case '"':
			if err := json.Unmarshal(r, &s); err != nil {
				return err
			}
		case '{', '[', 'n':
			return errors.New("not a string")
		default:
			s = string(r)
		}
		*l = append(*l, s)
	}
	return nil
}

func strictJSON(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data")
	}
	return nil
}

var (
	sidChars    = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	actionChars = regexp.MustCompile(`^[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+$`)
)

func checkPolicy(document string) error {
	_, err := parseIdentityPolicy(document)
	return err
}

// parseIdentityPolicy parses a policy of a user, a group or a role, or a permissions boundary.
func parseIdentityPolicy(document string) (*policy, error) {
	return parsePolicy(document, statement.checkIdentity)
}

// parseTrustPolicy parses a trust policy of a role.
func parseTrustPolicy(document string) (*policy, error) {
	return parsePolicy(document, statement.checkTrust)
}

func parsePolicy(document string, check func(statement) error) (*policy, error) {
	var p policy
	if !json.Valid([]byte(document)) {
		return nil, malformedPolicy("This policy contains invalid Json")
	}
	if err := strictJSON([]byte(document), &p); err != nil {
		return nil, malformedPolicy("Syntax errors in policy.")
	}
	if p.Version != "2012-10-17" && p.Version != "2008-10-17" {
		return nil, malformedPolicy("The policy must contain a valid version string")
	}
	if len(p.Statement) == 0 {
		return nil, malformedPolicy("Syntax errors in policy.")
	}
	sids := map[string]bool{}
	for _, s := range p.Statement {
		if s.Sid != "" && sids[s.Sid] {
			return nil, malformedPolicy("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.Sid] = true
		if err := s.checkCommon(); err != nil {
			return nil, err
		}
		if err := check(s); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

func (s statement) checkCommon() error {
	if !sidChars.MatchString(s.Sid) {
		return malformedPolicy("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
	}
	if s.Effect != "Allow" && s.Effect != "Deny" {
		return malformedPolicy("Syntax errors in policy.")
	}
	if len(s.Action) == 0 && len(s.NotAction) == 0 {
		return malformedPolicy("Policy statement must contain actions.")
	}
	if s.Action != nil && s.NotAction != nil {
		return malformedPolicy("Syntax errors in policy.")
	}
	for _, action := range slices.Concat(s.Action, s.NotAction) {
		if action != "*" && !actionChars.MatchString(action) {
			return malformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		}
	}
	for name, keys := range s.Condition {
		if _, ok := parseOperator(name); !ok {
			return malformedPolicy("Invalid Condition type : %s.", name)
		}
		for key := range keys {
			if !strings.Contains(key, ":") {
				return malformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
			}
		}
	}
	return nil
}

func (s statement) checkIdentity() error {
	if s.Principal != nil || s.NotPrincipal != nil {
		return malformedPolicy("Policy document should not specify a principal.")
	}
	if len(s.Resource) == 0 && len(s.NotResource) == 0 {
		return malformedPolicy("Policy statement must contain resources.")
	}
	if s.Resource != nil && s.NotResource != nil {
		return malformedPolicy("Syntax errors in policy.")
	}
	for _, resource := range slices.Concat(s.Resource, s.NotResource) {
		if resource != "*" && strings.Count(resource, ":") < 5 {
			return malformedPolicy(`Resource %s must be in ARN format or "*".`, resource)
		}
	}
	return nil
}

func (s statement) checkTrust() error {
	if s.Principal == nil || s.NotPrincipal != nil {
		return malformedPolicy("AssumeRolepolicy must contain principals.")
	}
	if len(s.Resource) > 0 || len(s.NotResource) > 0 {
		return malformedPolicy("Has prohibited field Resource")
	}
	return nil
}

package definition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// PolicyName is the name of the one inline policy of a lease's user.
const PolicyName = "lessor"

// DenyAll is a policy that denies everything.
const DenyAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// statements is the Statement of a policy: a list, or a single statement without the
// list.
type statements []json.RawMessage

func (s *statements) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		*s = statements{bytes.Clone(data)}
		return nil
	}
	return json.Unmarshal(data, (*[]json.RawMessage)(s))
}

// Compose returns a policy with the configured statements and, unless denyAfter is
// zero, a Deny of everything after that date. It returns "" if the policy would be
// empty. A fraction of a second is cut off, so that the Deny is never late. It returns
// an error if configured is neither empty nor a policy.
//
//	{"Version":"2012-10-17","Statement":[…,{"Effect":"Deny","Action":"*","Resource":"*",
//	 "Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T22:15:00Z"}}}]}
func Compose(configured json.RawMessage, denyAfter time.Time) (string, error) {
	policy := struct {
		Version   string
		ID        string `json:"Id,omitempty"`
		Statement statements
	}{Version: "2012-10-17"}
	if len(configured) > 0 {
		document, err := Compact(configured)
		if err == nil {
			err = json.Unmarshal([]byte(document), &policy)
		}
		if err != nil {
			return "", fmt.Errorf("damaged inline policy: %w", err)
		}
	}
	if !denyAfter.IsZero() {
		policy.Statement = append(policy.Statement, json.RawMessage(`{"Effect":"Deny","Action":"*","Resource":"*",`+
			`"Condition":{"DateGreaterThan":{"aws:CurrentTime":"`+denyAfter.UTC().Format(time.RFC3339)+`"}}}`))
	}
	if len(policy.Statement) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // \u003c for < would count as six characters
	if err := e.Encode(policy); err != nil {
		return "", fmt.Errorf("damaged inline policy: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// jsonEscape matches an escape sequence in a JSON document.
var jsonEscape = regexp.MustCompile(`\\(u003[cCeE]|u0026|.)`)

// Compact returns a JSON document without white space between its elements; "" for an
// empty document. It replaces the escapes of <, > and &, which encoding/json writes
// where the document is part of another one, such as a lease's record: they would count
// as six characters each. It returns an error if the document is not JSON.
func Compact(document []byte) (string, error) {
	if len(document) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, document); err != nil {
		return "", err
	}
	return jsonEscape.ReplaceAllStringFunc(b.String(), func(escape string) string {
		switch strings.ToLower(escape) {
		case `\u003c`:
			return "<"
		case `\u003e`:
			return ">"
		case `\u0026`:
			return "&"
		}
		return escape
	}), nil
}

// HasPolicy reports whether a lease's user has the inline policy [PolicyName].
func HasPolicy(u record.User) bool {
	return len(u.InlinePolicy) > 0 || u.HardExpiry == messages.HardExpiryLease || u.HardExpiry == messages.HardExpiryMaxTTL
}

// quotaSize returns the size of a policy as IAM's quotas count it: characters without
// white space.
func quotaSize(policy string) int {
	n := utf8.RuneCountInString(policy)
	for _, space := range []string{" ", "\t", "\n", "\r"} {
		n -= strings.Count(policy, space)
	}
	return n
}

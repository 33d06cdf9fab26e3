package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// policyName names the one inline policy of lessor's users.
const policyName = "lessor"

// denyAll refuses everything from now on.
const denyAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// statements is a policy's Statement: IAM takes a single one without its list.
type statements []json.RawMessage

func (s *statements) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		*s = statements{bytes.Clone(data)}
		return nil
	}
	return json.Unmarshal(data, (*[]json.RawMessage)(s))
}

// compose puts the configured statements and the expiry's Deny into one policy;
// "" is none at all. configured may be empty; a zero denyAfter means no Deny.
// AWS looks at whole seconds: a fraction is cut, so that the Deny never comes
// late.
//
//	{"Version":"2012-10-17","Statement":[…,{"Effect":"Deny","Action":"*","Resource":"*",
//	 "Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-22T22:15:00Z"}}}]}
func compose(configured json.RawMessage, denyAfter time.Time) (string, error) {
	policy := struct {
		Version   string
		ID        string `json:"Id,omitempty"`
		Statement statements
	}{Version: "2012-10-17"}
	if len(configured) > 0 {
		document, err := plain(configured)
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
	e.SetEscapeHTML(false) // \u003c for < would cost five characters
	if err := e.Encode(policy); err != nil {
		return "", fmt.Errorf("damaged inline policy: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// jsonEscape is a backslash in a JSON document, and what goes with it.
var jsonEscape = regexp.MustCompile(`\\(u003[cCeE]|u0026|.)`)

// plain is a document without white space around its elements, "" if there is
// none. <, > and & stand for themselves: encoding/json has written them as escapes
// where the document was part of something else, such as a lease's record, and an
// escape costs five characters more.
func plain(document []byte) (string, error) {
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

// hasPolicy says whether a user has lessor's inline policy.
func hasPolicy(u record.User) bool {
	return len(u.InlinePolicy) > 0 || u.HardExpiry == messages.HardExpiryLease || u.HardExpiry == messages.HardExpiryMaxTTL
}

// quotaSize is a policy's size as IAM's quota counts it: characters without
// white space.
func quotaSize(policy string) int {
	n := utf8.RuneCountInString(policy)
	for _, space := range []string{" ", "\t", "\n", "\r"} {
		n -= strings.Count(policy, space)
	}
	return n
}

// putPolicy is the step that sets a user's inline policy.
func (a *account) putPolicy(user, policy string) step {
	return step{op: "PutUserPolicy", do: func(ctx context.Context) error {
		_, err := a.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
			UserName: aws.String(user), PolicyName: aws.String(policyName), PolicyDocument: aws.String(policy),
		})
		return err
	}}
}

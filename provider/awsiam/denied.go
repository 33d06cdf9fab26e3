package awsiam

import (
	"errors"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
)

// IAM's and STS's words:
//
//	User: arn:… is not authorized to perform: iam:CreateUser on resource: arn:… because no identity-based policy allows the iam:CreateUser action
//	Not authorized to perform sts:AssumeRoleWithWebIdentity
//
// Instead of an ARN there may also be "user NAME".
var (
	deniedCaller = regexp.MustCompile(`^User: \S+ is not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)(?: on resource: (\S+))?(?: |$)`)
	deniedToken  = regexp.MustCompile(`^Not authorized to perform ([a-z0-9-]+:[A-Za-z]+)$`)
	deniedARN    = regexp.MustCompile(`^arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[!-~]+$`)
)

// whatIsDenied is the action and the resource that a refusal is about, as far as
// it says so in words that are known.
func whatIsDenied(err error) (action, resource string) {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "", ""
	}
	message := strings.TrimSpace(e.ErrorMessage())
	if m := deniedToken.FindStringSubmatch(message); m != nil {
		return m[1], ""
	}
	m := deniedCaller.FindStringSubmatch(message)
	if m == nil {
		return "", ""
	}
	if m[2] == "*" || deniedARN.MatchString(m[2]) {
		resource = m[2]
	}
	return m[1], resource
}

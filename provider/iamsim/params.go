package iamsim

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The patterns of IAM parameters.
var (
	nameChars   = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]+$`)
	pathChars   = regexp.MustCompile(`^(/|/[!-~]+/)$`)
	prefixChars = regexp.MustCompile(`^/[!-~]*$`)
	keyIDChars  = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	serialChars = regexp.MustCompile(`^[A-Za-z0-9_=/:,.@-]+$`)
	tagChars    = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	policyARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy(/[!-~]*)?/[A-Za-z0-9_+=,.@-]{1,128}$`)
)

// invalidParam returns the validation error for a parameter that violates the service model.
func invalidParam(param string, value any, constraint string, a ...any) error {
	shown := "null"
	if value != nil {
		shown = fmt.Sprintf("'%v'", value)
	}
	return validation("1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s",
		shown, lowerFirst(param), fmt.Sprintf(constraint, a...))
}

// lowerFirst returns UserName as userName, the spelling of parameters in IAM's messages.
func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// sized returns a required parameter of min to max characters.
func (r *request) sized(param string, min, max int) (string, error) {
	if !r.form.Has(param) {
		return "", invalidParam(param, nil, "Member must not be null")
	}
	v := r.get(param)
	switch n := utf8.RuneCountInString(v); {
	case n < min:
		return "", invalidParam(param, v, "Member must have length greater than or equal to %d", min)
	case n > max:
		return "", invalidParam(param, v, "Member must have length less than or equal to %d", max)
	}
	return v, nil
}

// matching returns a required parameter of min to max characters that matches a pattern.
func (r *request) matching(param string, min, max int, pattern *regexp.Regexp) (string, error) {
	v, err := r.sized(param, min, max)
	if err == nil && !pattern.MatchString(v) {
		return "", invalidParam(param, v, "Member must satisfy regular expression pattern: %s", strings.Trim(pattern.String(), "^$"))
	}
	return v, err
}

// name returns a required parameter that names a user, a group, a role or a policy.
func (r *request) name(param string, max int) (string, error) {
	v, err := r.sized(param, 1, max)
	if err == nil && !nameChars.MatchString(v) {
		return "", validation("The specified value for %s is invalid. It must contain only alphanumeric characters "+
			"and/or the following: +=,.@_-", lowerFirst(param))
	}
	return v, err
}

// path returns the Path parameter, or / if it is absent.
func (r *request) path() (string, error) {
	if !r.form.Has("Path") {
		return "/", nil
	}
	v, err := r.sized("Path", 1, 512)
	if err == nil && !pathChars.MatchString(v) {
		return "", validation("The specified value for path is invalid. It must begin and end with / and contain only " +
			"alphanumeric characters and/or / characters.")
	}
	return v, err
}

// policyARN returns a required parameter with the ARN of a managed policy. The policy may not exist.
func (r *request) policyARN(param string) (string, error) {
	v, err := r.sized(param, 20, 2048)
	if err == nil && !policyARN.MatchString(v) {
		return "", validation("ARN %s is not valid.", v)
	}
	return v, err
}

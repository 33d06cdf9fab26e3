package iamsim

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	maxSessionPolicy   = 2048 // characters, white space counted
	maxSessionPolicies = 10   // managed ones
)

// allotted is how many bytes the policies and tags of a session may have once they are packed. AWS tells neither its
// packing nor its room, only a percentage; this is of the order that people report.
const allotted = 400

// sessionPolicies are the limits that a call puts on the session it asks for.
func (a *account) sessionPolicies(r *request) ([]string, error) {
	var policies []string
	if r.form.Has("Policy") {
		doc, err := r.matching("Policy", 1, maxSessionPolicy, policyChars)
		if err != nil {
			return nil, err
		}
		if err := checkPolicy(doc); err != nil {
			return nil, err
		}
		policies = append(policies, doc)
	}
	arns := r.policyARNs()
	if len(arns) > maxSessionPolicies {
		return nil, broken("PolicyArns", "[...]", "Member must have length less than or equal to %d", maxSessionPolicies)
	}
	for _, arn := range arns {
		doc, ok := a.managedPolicy(arn)
		if !ok {
			return nil, noSuchEntity("Policy %s does not exist or is not attachable.", arn)
		}
		policies = append(policies, doc)
	}
	return policies, nil
}

func (r *request) policyARNs() []string {
	var arns []string
	for i := 1; ; i++ {
		arn := r.get(fmt.Sprintf("PolicyArns.member.%d.arn", i))
		if arn == "" {
			return arns
		}
		arns = append(arns, arn)
	}
}

// sessionTags are the tags of the session that a call asks for. Where IAM says InvalidInput, STS says ValidationError.
func (r *request) sessionTags() ([]tag, error) {
	tags, err := r.tags(true)
	if f, ok := errors.AsType[*fault](err); ok && f.code == "InvalidInput" {
		return nil, &fault{http.StatusBadRequest, "ValidationError", f.message}
	}
	return tags, err
}

// passOn adds the tags that the caller's own session passes on. To set one of them again is an error.
func (r *request) passOn(tags []tag) ([]tag, error) {
	for _, t := range r.caller.passed {
		if slices.ContainsFunc(tags, func(own tag) bool { return strings.EqualFold(own.key, t.key) }) {
			return nil, &fault{http.StatusBadRequest, "InvalidParameterValue",
				"One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."}
		}
	}
	return append(slices.Clone(r.caller.passed), tags...), nil
}

// packed is how much of the room for policies and tags a session would take, in percent.
func (r *request) packed(tags []tag) int {
	all := r.get("Policy") + strings.Join(r.policyARNs(), "")
	for _, t := range tags {
		all += t.key + t.value
	}
	n := len(all)
	if n > allotted {
		n = deflated(all)
	}
	return (n*100 + allotted - 1) / allotted
}

func deflated(s string) int {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // the level is wrong
	}
	_, _ = io.WriteString(w, s) // a buffer takes everything
	_ = w.Close()
	return b.Len()
}

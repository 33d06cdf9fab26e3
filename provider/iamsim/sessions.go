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
	maxSessionPolicy   = 2048 // characters, including white space
	maxSessionPolicies = 10   // managed policies
)

// packedRoom is the limit of bytes of a session's policies and tags in their packed form. AWS documents neither the
// packing nor the limit and reports a percentage only; this is the reported order of magnitude.
const packedRoom = 400

// sessionPolicies returns the session policies in a call.
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
		return nil, invalidParam("PolicyArns", "[...]", "Member must have length less than or equal to %d", maxSessionPolicies)
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

// sessionTags returns the session tags in a call. Its error is ValidationError where that of IAM is InvalidInput.
func (r *request) sessionTags() ([]tag, error) {
	tags, err := r.tags(true)
	if f, ok := errors.AsType[*apiError](err); ok && f.code == "InvalidInput" {
		return nil, &apiError{http.StatusBadRequest, "ValidationError", f.message}
	}
	return tags, err
}

// withTransitiveTags adds the transitive tags of the caller's session. It returns an error if a tag is set twice.
func (r *request) withTransitiveTags(tags []tag) ([]tag, error) {
	for _, t := range r.caller.transitive {
		if slices.ContainsFunc(tags, func(own tag) bool { return strings.EqualFold(own.key, t.key) }) {
			return nil, &apiError{http.StatusBadRequest, "InvalidParameterValue",
				"One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."}
		}
	}
	return append(slices.Clone(r.caller.transitive), tags...), nil
}

// packed returns the packed size of the session's policies and tags, in percent of packedRoom.
func (r *request) packed(tags []tag) int {
	all := r.get("Policy") + strings.Join(r.policyARNs(), "")
	for _, t := range tags {
		all += t.key + t.value
	}
	n := len(all)
	if n > packedRoom {
		n = deflated(all)
	}
	return (n*100 + packedRoom - 1) / packedRoom
}

func deflated(s string) int {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // invalid level
	}
	_, _ = io.WriteString(w, s) // writing to a Buffer never fails
	_ = w.Close()
	return b.Len()
}

// Package iamsim is an AWS account with nothing in it but IAM and STS. It speaks their wire protocol, so that the real
// SDK, with no mock in it, can be tested against it and `lessor dev` needs no AWS account:
//
//	sim := iamsim.New(iamsim.Options{})
//	id, secret := sim.AddPrincipal("broker")
//	server, err := sim.Start() // server.URL is the endpoint of both services
//
// A call passes through the files of this package in this order. serve.go reads the request, asks the hook, waits for
// the latency, and applies throttling and random failures. caller.go finds out whose key signed it and sign.go checks
// the signature. authorize.go and evaluate.go ask the caller's policies. Then the one function that operations.go
// names for the action changes the account, and answer.go writes what it says as AWS would.
//
// # What is real
//
// Signature Version 4 is verified in full: key, scope, clock, headers, body, and the session token of temporary keys.
// All grammars and quotas of the implemented calls hold, with AWS's error codes, statuses and, as far as they are
// known, messages. User, group and role names and tag keys are compared without regard to case. A user can be deleted
// only when it is empty. Policies are checked when they are stored, and evaluated whenever a call is made: identity
// policies, groups, permissions boundaries, session policies and tags, role trust, and conditions by the account's
// clock, so that a statement that denies everything after a date does so. Allowed asks the same for actions of other
// services.
//
// # What is not
//
// Policies must have a Version; AWS would take its absence for the oldest one. Resource-based policies other than role
// trust, service control policies, policy versions, MFA conditions, transitive session tags, those of web identity
// tokens, presigned URLs, and the escapes ${*}, ${?} and ${$} are missing. How much room a session's policies and tags
// take once they are packed is a guess. The managed policies of AWS are a table of a few, abridged. Groups, roles and
// managed policies are made with AddGroup, AddRole and AddPolicy, not over the wire. Web identity tokens are signed
// with HS256. Throttling is one bucket for all calls, since AWS publishes none. There is no eventual consistency but
// what Faults asks for.
package iamsim

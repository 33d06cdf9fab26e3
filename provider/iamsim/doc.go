// Package iamsim simulates the IAM and STS of an AWS account. It speaks their wire protocol, so that tests use the real
// SDK and `lessor dev` needs no AWS account:
//
//	sim := iamsim.New(iamsim.Options{})
//	id, secret := sim.AddPrincipal("broker")
//	server, err := sim.Start() // server.URL is the endpoint of both services
//
// A call passes through the files of this package in this order. serve.go reads the request, calls the hook, waits for
// the latency, and applies throttling and random failures. caller.go finds the principal of the key and sign.go verifies
// the signature. authorize.go and evaluate.go evaluate the caller's policies. The function that operations.go has for
// the action changes the account, and response.go writes the response.
//
// # What is simulated
//
// Signature Version 4 is verified in full: key, scope, clock, headers, body, and the session token of temporary keys.
// The parameters and quotas of the implemented calls are checked, with the error codes, statuses and, as far as they
// are known, messages of AWS. User, group and role names and tag keys ignore case. Only an empty user can be deleted.
// Policies are checked when they are stored, and evaluated with each call: identity policies, groups, permissions
// boundaries, session policies and tags, role trust, and conditions by the account's clock, so that a statement that
// denies everything after a date takes effect. Allowed evaluates actions of other services.
//
// # What is not
//
// Policies must have a Version; AWS treats a missing one as the oldest. Resource-based policies other than role trust,
// service control policies, policy versions, MFA conditions, transitive session tags of requests, session tags of web
// identity tokens, presigned URLs, and the escapes ${*}, ${?} and ${$} are not implemented. The packed size of session
// policies and tags is an estimate. There are a few AWS managed policies, abridged. Groups, roles and managed policies
// are created with AddGroup, AddRole and AddPolicy, not over the wire. Web identity tokens are signed with HS256.
// Throttling is one token bucket for all calls, because AWS does not publish its limits. There is no eventual
// consistency except for that of Faults.
package iamsim

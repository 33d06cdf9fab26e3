package lease

import "github.com/lessorhq/lessor/messages"

// DryRunIdentity is the identity of the leases that only try a definition out.
const DryRunIdentity = "_check"

// CheckRequester returns an error if a token can't be a requester's identity: it is
// malformed, or one of lessor's own.
func CheckRequester(identity string) error {
	if identity == DryRunIdentity || identity == messages.AdminIdentity {
		return messages.Errorf(messages.CodeInvalidSubject, "the identity %s is lessor's own", identity)
	}
	return messages.CheckToken("identity", identity)
}

// Package definition validates the definitions of dynamic secrets for AWS, and
// generates IAM policy documents from them. It makes no calls.
//
// [Check] refuses a definition that IAM or STS would refuse, as far as the
// definition alone shows that: Check knows their limits and grammars, but not whether a
// policy or a group exists. [Notes] returns warnings about definitions that Check
// accepts.
//
// [Compose] builds the inline policy of a lease's user: the configured statements
// and the Deny of the lease's end.
//
// [Permissions] generates the policy that the broker's own principal needs for a
// definition, and [Trust] the trust policy of a role that it assumes. Operators put
// both into IAM.
//
// Errors are [messages.Error] values whose message begins with the field, or the
// option, at fault.
package definition

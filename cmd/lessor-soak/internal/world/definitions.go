package world

import (
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/messages"
)

// Names of the dynamic secrets.
const (
	Hard  = "hard"       // users with hard expiry
	Soft  = "soft"       // users without hard expiry: only the broker ends them
	Role  = account.Role // sessions of a role
	Keyed = "keyed"      // users that a managing user creates, whose key is rotated
	Brief = "brief"      // put and deleted again and again
)

// RequestLabel is the label of a lease that identifies its request, also in events.
const RequestLabel = "request"

// Short is the duration below which a test has shorter leases and fewer faults.
const Short = 20 * time.Second

// Manager is the name of the managing user of [Keyed].
const Manager = "manager"

// Definition returns the YAML of a definition of IAM users. Auth are the fields of
// aws.auth.
func Definition(name string, expiry messages.HardExpiry, auth string) string {
	return fmt.Sprintf(`name: %s
default_ttl: 20s
max_ttl: 2m
tags: {purpose: soak}
hard_expiry: %s
aws:
  region: eu-central-1
  path: /lessor/soak/
  groups: [soakers]
  managed_policies: [arn:aws:iam::aws:policy/ReadOnlyAccess]
  inline_policy: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
  auth: {%s}
`, name, expiry, auth)
}

// sessionDefinition is the definition of [Role]. A session can't be shorter than 15
// minutes, so the sessions of requesters that do not confirm have to be revoked.
const sessionDefinition = `name: role
default_ttl: 15m
max_ttl: 20m
require_confirm: true
aws:
  credential_type: assume_role
  region: eu-central-1
  role_arn: arn:aws:iam::123456789012:role/role
  external_id: soak
`

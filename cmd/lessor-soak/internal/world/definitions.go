package world

import (
	"fmt"
	"time"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/messages"
)

// Names of the definitions.
const (
	Hard  = "hard"       // AWS enforces its end
	Soft  = "soft"       // only the broker does
	Role  = account.Role // sessions of a role
	Keyed = "keyed"      // with a managing user, whose key is rotated
	Brief = "brief"      // put and deleted again and again
)

// RequestLabel is the label of a lease that names its request, in the events too.
const RequestLabel = "asked"

// Short is the duration below which a test is made to end soon.
const Short = 20 * time.Second

// Manager is the managing user of soakKeyed.
const Manager = "manager"

// Definition is a definition of IAM users.
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

// session is the definition of sessions. They last a quarter of an hour at least,
// so who does not confirm must not keep one.
const session = `name: role
default_ttl: 15m
max_ttl: 20m
require_confirm: true
aws:
  credential_type: assume_role
  region: eu-central-1
  role_arn: arn:aws:iam::123456789012:role/role
  external_id: soak
`

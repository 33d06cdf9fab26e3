package messages

import "strings"

// AdminVerb is an operation of the admin service: the last token of a subject below
// lessor.admin.secret or lessor.admin.lease.
type AdminVerb string

// The verbs for dynamic secrets. All but list take a name.
const (
	AdminPut       AdminVerb = "put"
	AdminGet       AdminVerb = "get"
	AdminList      AdminVerb = "list"
	AdminDelete    AdminVerb = "delete"
	AdminCheck     AdminVerb = "check"
	AdminRotateKey AdminVerb = "rotate-key"
)

// The verbs for leases, of any identity.
const (
	AdminLeaseList   AdminVerb = "list"
	AdminLeaseRetry  AdminVerb = "retry"
	AdminLeaseRevoke AdminVerb = "revoke"
)

// AdminService returns the name of the NATS micro service for operators.
func (n Namespace) AdminService() string { return n.Prefix() + "_admin" }

// AdminSecret returns the subject of a verb for dynamic secrets, such as
// lessor.admin.secret.put.
func (n Namespace) AdminSecret(v AdminVerb) string { return n.join("admin", "secret", string(v)) }

// AdminLease returns the subject of a verb for leases, such as lessor.admin.lease.list.
func (n Namespace) AdminLease(v AdminVerb) string { return n.join("admin", "lease", string(v)) }

// AdminSweep returns the subject of [SweepCommand].
func (n Namespace) AdminSweep() string { return n.join("admin", "sweep") }

// AdminRestore returns the subject of [RestoreCommand].
func (n Namespace) AdminRestore() string { return n.join("admin", "restore") }

// AdminKey returns the subject that answers with the key to seal a [SecretPut] for.
func (n Namespace) AdminKey() string { return n.join("admin", "key") }

// AdminAs returns the form of an admin subject that names the operator, a token:
// lessor.admin.as.kim.secret.put. An operator who may publish on
// lessor.admin.as.kim.> alone is named in the events about the operator's commands.
func (n Namespace) AdminAs(operator, subject string) string {
	return n.join("admin", "as", operator, strings.TrimPrefix(subject, n.Prefix()+".admin."))
}

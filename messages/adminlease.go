package messages

// What an operator asks of leases, whosever they are: the token behind
// "lessor.admin.lease.".
const (
	AdminLeaseList   AdminVerb = "list"
	AdminLeaseRetry  AdminVerb = "retry"
	AdminLeaseRevoke AdminVerb = "revoke"
)

// AdminLease is the admin service's subject for leases: lessor.admin.lease.list.
func (n Namespace) AdminLease(v AdminVerb) string { return n.join("admin", "lease", string(v)) }

// LeaseQuery asks for a page of leases.
//
//	{"identity":"alice","secret":"ci","state":"revoking","failing":true,"limit":100,"after":"…"}
type LeaseQuery struct {
	Identity string `json:"identity,omitempty"` // only this identity's
	// Failing asks for the leases that could not be revoked when it was last tried.
	Failing bool `json:"failing,omitempty"`
	ListRequest
}

// DecodeLeaseQuery reads a query and fills in the default limit.
func DecodeLeaseQuery(data []byte) (LeaseQuery, error) {
	var q LeaseQuery
	if err := decodeObject(data,
		field{"identity", &q.Identity}, field{"failing", &q.Failing},
		field{"secret", &q.Secret}, field{"state", &q.State}, field{"limit", &q.Limit}, field{"after", &q.After},
	); err != nil {
		return LeaseQuery{}, err
	}
	if q.Identity != "" {
		if err := CheckToken("identity", q.Identity); err != nil {
			return LeaseQuery{}, err
		}
	}
	var err error
	q.ListRequest, err = q.ListRequest.checked()
	if err != nil {
		return LeaseQuery{}, err
	}
	return q, nil
}

// LeaseCommand orders leases to end: one by its name, or all of an identity, of a
// secret, or of both.
//
//	{"lease":"alice.ci.06ct…","reason":"leaked","force":true}
//	{"identity":"alice","reason":"has left"}
type LeaseCommand struct {
	Lease    string `json:"lease,omitempty"`
	Identity string `json:"identity,omitempty"`
	Secret   string `json:"secret,omitempty"`
	// Reason is kept with the leases and told in their events, at most
	// [MaxReason] characters. Of revoke.
	Reason string `json:"reason,omitempty"`
	// Force, of revoke and for one lease, gives up what could not be revoked: the
	// record goes, and the sweep goes on looking for the user.
	Force bool `json:"force,omitempty"`
}

// DecodeLeaseCommand reads an order. One to retry may be empty: all leases that could
// not be revoked.
func DecodeLeaseCommand(v AdminVerb, data []byte) (LeaseCommand, error) {
	var o LeaseCommand
	fields := []field{{"lease", &o.Lease}, {"identity", &o.Identity}, {"secret", &o.Secret}}
	if v == AdminLeaseRevoke {
		fields = append(fields, field{"reason", &o.Reason}, field{"force", &o.Force})
	}
	if err := decodeObject(data, fields...); err != nil {
		return LeaseCommand{}, err
	}
	if err := o.Check(v); err != nil {
		return LeaseCommand{}, err
	}
	return o, nil
}

// Check says what is wrong with an order. The error is an [Error].
func (o LeaseCommand) Check(v AdminVerb) error {
	if o.Lease != "" {
		if _, err := ParseLeaseName(o.Lease); err != nil {
			return Errorf(CodeInvalidRequest, "lease: %s", AsError(err).Message)
		}
	}
	for _, f := range []struct{ field, value string }{{"identity", o.Identity}, {"secret", o.Secret}} {
		if f.value == "" {
			continue
		}
		if err := CheckToken(f.field, f.value); err != nil {
			return err
		}
	}
	all := o.Identity == "" && o.Secret == ""
	switch {
	case o.Lease != "" && !all:
		return Errorf(CodeInvalidRequest, "lease excludes identity and secret")
	case v == AdminLeaseRevoke && o.Lease == "" && all:
		return Errorf(CodeInvalidRequest, "lease, identity or secret is missing: which leases are meant?")
	case o.Force && o.Lease == "":
		return Errorf(CodeInvalidRequest, "force needs a lease: it is for one at a time")
	}
	return checkText("reason", o.Reason, MaxReason) // as [DecodeRevokeRequest] does, which reads it once more
}

// UnreadableRecord is what stands at a key of the lease bucket and can't be read: it
// is damaged, or a newer broker's. It is left alone.
type UnreadableRecord struct {
	Key      string `json:"key"` // a lease's name, or not even that
	Revision uint64 `json:"revision"`
	Why      string `json:"why"`
}

// Accepted is how many leases were told to end.
type Accepted struct {
	Leases int `json:"leases"`
}

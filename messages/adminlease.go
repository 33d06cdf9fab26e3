package messages

// LeaseQuery requests a page of leases of any identity.
//
//	{"identity":"alice","secret":"ci","state":"revoking","failing":true,"limit":100,"after":"…"}
type LeaseQuery struct {
	Identity string `json:"identity,omitempty"` // only this identity's leases
	// Failing selects the leases whose last teardown failed.
	Failing bool `json:"failing,omitempty"`
	ListRequest
}

// DecodeLeaseQuery reads a query and sets the default limit. The error is an [Error].
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

// UnreadableRecord is a record in the lease bucket that the broker can't read and
// leaves unchanged: it is damaged, or of a newer version.
type UnreadableRecord struct {
	Key      string `json:"key"` // the name of a lease, unless the key is not one
	Revision uint64 `json:"revision"`
	Why      string `json:"why"`
}

// LeaseCommand revokes leases or retries failed revocations: of one lease, or of all
// leases of an identity, of a secret, or of both.
//
//	{"lease":"alice.ci.06ct…","reason":"leaked","force":true}
//	{"identity":"alice","reason":"has left"}
type LeaseCommand struct {
	Lease    string `json:"lease,omitempty"`
	Identity string `json:"identity,omitempty"`
	Secret   string `json:"secret,omitempty"`
	// Reason, of revoke, is stored with the leases and shown in their events. It has
	// at most [MaxReason] characters.
	Reason string `json:"reason,omitempty"`
	// Force, of revoke and for a single lease, drops the record of a lease that can't
	// be revoked. The sweep continues to look for its user.
	Force bool `json:"force,omitempty"`
}

// DecodeLeaseCommand reads a command. A retry may be empty: it then applies to all
// leases whose revocation failed. The error is an [Error].
func DecodeLeaseCommand(v AdminVerb, data []byte) (LeaseCommand, error) {
	var c LeaseCommand
	fields := []field{{"lease", &c.Lease}, {"identity", &c.Identity}, {"secret", &c.Secret}}
	if v == AdminLeaseRevoke {
		fields = append(fields, field{"reason", &c.Reason}, field{"force", &c.Force})
	}
	if err := decodeObject(data, fields...); err != nil {
		return LeaseCommand{}, err
	}
	if err := c.Check(v); err != nil {
		return LeaseCommand{}, err
	}
	return c, nil
}

// Check returns an [Error] if the command is not valid for the verb.
func (c LeaseCommand) Check(v AdminVerb) error {
	if c.Lease != "" {
		if _, err := ParseLeaseName(c.Lease); err != nil {
			return Errorf(CodeInvalidRequest, "lease: %s", AsError(err).Message)
		}
	}
	for _, f := range []struct{ field, value string }{{"identity", c.Identity}, {"secret", c.Secret}} {
		if f.value == "" {
			continue
		}
		if err := CheckToken(f.field, f.value); err != nil {
			return err
		}
	}
	all := c.Identity == "" && c.Secret == ""
	switch {
	case c.Lease != "" && !all:
		return Errorf(CodeInvalidRequest, "lease excludes identity and secret")
	case v == AdminLeaseRevoke && c.Lease == "" && all:
		return Errorf(CodeInvalidRequest, "lease, identity or secret is missing: which leases are meant?")
	case c.Force && c.Lease == "":
		return Errorf(CodeInvalidRequest, "force needs a lease: it is for one at a time")
	}
	return checkText("reason", c.Reason, MaxReason) // the same limit as in DecodeRevokeRequest, which reads it later
}

// Accepted is the number of leases that a [LeaseCommand] applies to.
type Accepted struct {
	Leases int `json:"leases"`
}

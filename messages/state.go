package messages

// State is the state of a lease.
type State string

// The states of a lease: provisioning → active → revoking → revoked or failed.
const (
	StateProvisioning State = "provisioning" // user and key are being made
	StateActive       State = "active"       // the key works
	StateRevoking     State = "revoking"     // in teardown, for any reason
	StateRevoked      State = "revoked"      // access has ended
	StateFailed       State = "failed"       // it could not be made, and nothing is left
)

// Valid reports whether s is one of the states above.
func (s State) Valid() bool {
	switch s {
	case StateProvisioning, StateActive, StateRevoking, StateRevoked, StateFailed:
		return true
	}
	return false
}

// Ended reports whether a lease in this state has ended, with nothing left in AWS.
func (s State) Ended() bool { return s == StateRevoked || s == StateFailed }

// Reason is why a lease ends.
type Reason string

// The reasons.
const (
	ReasonExpired       Reason = "expired"        // it reached its end
	ReasonRequested     Reason = "requested"      // its requester revoked it
	ReasonOperator      Reason = "operator"       // an operator revoked it
	ReasonUndelivered   Reason = "undelivered"    // its delivery was not settled
	ReasonSecretDeleted Reason = "secret_deleted" // its dynamic secret was deleted
	ReasonChecked       Reason = "checked"        // it was the dry run of a definition
	ReasonFailed        Reason = "failed"         // it could not be made
)

package messages

import "time"

// SweepCommand starts a sweep: it compares every AWS account with the leases and
// removes orphans.
//
//	{"apply":true}
type SweepCommand struct {
	// Apply is the operator's consent to remove many orphans. Without it a large
	// number is only reported, because a restored backup looks the same.
	Apply bool `json:"apply,omitempty"`
}

// DecodeSweepCommand reads a sweep command. The error is an [Error].
func DecodeSweepCommand(data []byte) (SweepCommand, error) {
	var c SweepCommand
	if err := decodeObject(data, field{"apply", &c.Apply}); err != nil {
		return SweepCommand{}, err
	}
	return c, nil
}

// Sweep is the result of comparing one AWS account with the leases.
type Sweep struct {
	Connection string   `json:"connection"`
	Account    string   `json:"account,omitempty"`
	Users      int      `json:"users"` // IAM users below the paths of the leases
	Orphans    []Orphan `json:"orphans,omitempty"`
	// AwaitsConsent means that the orphans are so many that they are left until an
	// operator sends a command with apply.
	AwaitsConsent bool   `json:"held,omitempty"`
	Error         string `json:"error,omitempty"` // why the sweep is incomplete
}

// Orphan is an IAM user of this installation without a lease.
type Orphan struct {
	Username  string    `json:"username"`
	Lease     string    `json:"lease,omitempty"` // the lease that its tag names
	CreatedAt time.Time `json:"created_at"`
	Removed   bool      `json:"removed"`
	Error     string    `json:"error,omitempty"` // why it could not be removed
}

// RestoreCommand reports what would end after the lease bucket was restored from a
// backup or, with Apply, lifts the restore guard.
//
//	{"apply":true}
type RestoreCommand struct {
	// Apply lifts the restore guard. Leases then end as their records say, or at the
	// later end that an event states, and all orphans are removed.
	Apply bool `json:"apply,omitempty"`
}

// DecodeRestoreCommand reads a restore command. The error is an [Error].
func DecodeRestoreCommand(data []byte) (RestoreCommand, error) {
	var c RestoreCommand
	if err := decodeObject(data, field{"apply", &c.Apply}); err != nil {
		return RestoreCommand{}, err
	}
	return c, nil
}

// Restore is the state of the restore guard.
type Restore struct {
	// Guarded means that the restore guard is in force: no lease ends by a record
	// from the backup, and no sweep removes a user.
	Guarded bool      `json:"held"`
	Applied bool      `json:"applied,omitempty"` // this command lifted the guard
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why,omitempty"`
	// Due is the number of leases that have ended by their records from the backup.
	// Leases has the first 500 of them.
	Due    int             `json:"due,omitempty"`
	Leases []RestoredLease `json:"leases,omitempty"`
	// Orphans is the number of orphans. Sweeps has the first 500 of them.
	Orphans int     `json:"orphans,omitempty"`
	Sweeps  []Sweep `json:"sweeps,omitempty"`
}

// RestoredLease is a lease that has ended by its record from the backup.
type RestoredLease struct {
	Name      string    `json:"name"`
	Username  string    `json:"username"`
	State     State     `json:"state"`
	ExpiresAt time.Time `json:"expires_at"`
	// RenewedUntil is a later end that an event states. It is zero if there is none.
	RenewedUntil time.Time `json:"renewed_until,omitzero"`
}

// Package record is the lease record: what the broker stores of a lease in the
// lease bucket, and the pure transitions that change it. Requesters do not need
// this package.
//
// A [Record] is written before AWS is called. It holds everything that is needed
// to delete the lease's IAM user, so that a changed or deleted definition never
// strands a lease, and the time ([Record.Due]) at which the broker must act next.
// A crash at any moment leaves either nothing, or a record that says what to clean
// up and when.
//
// # States
//
//	                CreateUser …            delivery settled
//	New ──────► provisioning ──► active ──────────────────► active
//	                 │             │  ▲                       │  ▲
//	                 │             │  └── Renew ──────────────┘──┘
//	  Fail, or       │             │ End: no responders,      │ End: expired,
//	  End: abandoned │             │ not confirmed            │ revoked
//	                 ▼             ▼                          ▼
//	             revoking ◄────────┴──────────────────────────┘
//	                 │  key deleted, user deleted
//	        ┌────────┴────────┐
//	        ▼                 ▼
//	      failed           revoked        (tombstones, kept for 24 h)
//
// Each arrow is a method of Record that takes the facts and returns the next
// record, or an error if the transition does not exist from that state. The caller
// stores the next record by compare-and-set on the revision of the previous one;
// the loser of a race discards its result.
//
// Until the delivery is settled the record carries the credentials, sealed, so that
// a request that is handled twice is answered twice with the same key. A delivery
// is settled when the requester has confirmed it or, without confirm, when NATS has
// taken it and has not answered "no responders".
//
// [Record.Action] says what is due. [Summarize] reads the few fields that the
// scheduler indexes, from the headers of the message that stores the record.
package record

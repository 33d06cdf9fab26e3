// Package messages is lessor's contract: what travels over NATS and what is
// kept there. It has nothing to hide and imports nothing else of lessor, so
// that a program in the requester's shoes needs no more than this.
//
// # The life of a lease
//
// A program asks for a lease by publishing a [LeaseRequest] on
// lessor.request.<identity>.<secret>. The identity says who asks and is
// enforced by NATS itself, because it is part of the subject; the secret names
// the [DynamicSecret], the recipe for the IAM user. The answer is a [Reply]: the
// [Credentials] (in clear, or in a [Sealed] box that only the requester's xkey
// opens), or an [Error].
//
//	               CreateUser …            delivery settled
//	request ──► provisioning ──► active ──────────────────► active
//	                 │             │  ▲                       │  ▲
//	                 │             │  └── renew ──────────────┘──┘
//	  AWS refuses,   │             │ nobody there,            │ expired,
//	  nobody finishes│             │ not confirmed            │ revoke
//	                 ▼             ▼                          ▼
//	             revoking ◄────────┴──────────────────────────┘
//	                 │  key deleted, user deleted
//	        ┌────────┴────────┐
//	        ▼                 ▼
//	      failed           revoked        (tombstones, kept for 24 h)
//
// The [Record] of a lease is written before AWS is touched, and each arrow above
// is one of its pure transitions: old record and facts in, new record out. The
// new one is stored by compare-and-set on the old one's revision; whoever loses
// stops. The record names everything needed to undo the lease and the time
// ([Record.Due]) at which somebody must look at it next; so a crash at any
// moment leaves behind either nothing or a record that says what to clean up
// and when.
//
// Until the delivery is settled the record carries the credentials, sealed, so
// that a request that is handled twice is answered twice with the same key. A
// delivery is settled when the requester has confirmed it, or, where no
// confirmation was asked for, when it was handed to NATS and NATS did not say
// that nobody listens.
//
// # Where things are
//
// [Namespace] names every subject, stream, bucket and consumer. Leases are named
// by [LeaseName]: <identity>.<secret>.<id>, which is the tail of every subject
// about the lease and its key in the bucket.
//
// Everything that happens is told as an [Event] on lessor.event.….
//
// Decoders are strict: a field that is not known, or is given twice, is an error
// that names it. Times are RFC 3339 in UTC; durations are written 90s, 15m, 1h,
// 7d ([Duration]). Secret values have the type [Sensitive] and print as
// "[redacted]" everywhere but in the one place that puts them on the wire.
package messages

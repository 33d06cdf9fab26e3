// Package messages is lessor's wire contract: subjects, requests, replies, events,
// errors and the sealing of credentials. It imports no other package of lessor, so
// that a requester needs nothing else.
//
// # The life of a lease
//
// A program requests a lease by publishing a [LeaseRequest] on
// lessor.request.<identity>.<secret>, or by a NATS request to
// lessor.api.request.<identity>.<secret>. The identity is part of the subject, so
// that NATS permissions enforce it; the secret names the [DynamicSecret], the
// definition of the IAM user. The answer is a [Reply]: the [Credentials] (in clear,
// or in a [Sealed] box that only the holder of the request's xkey opens), or an
// [Error].
//
// A lease is provisioning, active, revoking and at last revoked or failed ([State]);
// [Reason] says why it ended. A renewal moves its end, up to the secret's max_ttl. A
// revocation, or its end, deletes the key and the user.
//
// # Names
//
// [Namespace] names every subject, stream, bucket and consumer. Leases are named by
// [LeaseName]: <identity>.<secret>.<id>, which is the tail of every subject about
// the lease and its key in the lease bucket.
//
// The broker emits an [Event] on lessor.event.… for everything that happens.
//
// # Encoding
//
// Decoders of requests are strict: an unknown field, or one that is given twice, is
// an error that names it. Times are RFC 3339 in UTC; durations are written 90s, 15m,
// 1h, 7d ([Duration]). Secret values have the type [Sensitive] and print as
// "[redacted]" everywhere but in the one place that puts them on the wire.
package messages

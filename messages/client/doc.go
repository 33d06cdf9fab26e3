// Package client asks a broker for leases. It is for requesters: programs that
// need an AWS access key for a while. It knows package messages and nats.go, and
// nothing else of lessor.
//
//	c, err := client.New(nc, client.Options{Identity: "alice"})
//	…
//	issued, err := c.Request(ctx, "ci", messages.LeaseRequest{TTL: messages.Duration(15 * time.Minute), Confirm: true}, client.Sealed())
//	…
//	defer c.Revoke(context.WithoutCancel(ctx), issued.Lease.Name, "done")
//	use(issued.Credentials.AccessKeyID, issued.Credentials.SecretAccessKey.Reveal())
//
// Every call goes through the front door, the subjects lessor.api.<verb>.…, and
// works from another account than the broker's. The identity is part of the
// subject and NATS enforces it; the client only says it.
//
// A call listens on an inbox of its own until it returns. Where no answer comes,
// or nobody listens for a moment, it sends its message again, with the same
// reply subject, so that an answer to the first try still counts. That is safe:
// a request carries an idempotency key, and the other calls may be repeated.
//
// [Admin] is for operators: it puts, checks and deletes dynamic secrets, on the
// subjects lessor.admin.…, which are the broker's own account's.
//
// Errors that the broker answered are a *[messages.Error], with a code to switch
// on. All others say what happened on the way; nats.ErrNoResponders,
// nats.ErrPermissionViolation and the context's errors are in their chains.
package client

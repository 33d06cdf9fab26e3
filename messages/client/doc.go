// Package client requests leases from a broker. It is for requesters, programs that
// need an AWS access key for a limited time, and for operators. It imports package
// messages and nats.go only.
//
//	c, err := client.New(nc, client.Options{Identity: "alice"})
//	…
//	issued, err := c.Request(ctx, "ci", messages.LeaseRequest{TTL: messages.Duration(15 * time.Minute), Confirm: true}, client.Sealed())
//	…
//	defer c.Revoke(context.WithoutCancel(ctx), issued.Lease.Name, "done")
//	use(issued.Credentials.AccessKeyID, issued.Credentials.SecretAccessKey.Reveal())
//
// A [Client] calls the API, on the subjects lessor.api.<verb>.…, and works in any NATS
// account that imports it. The identity is part of the subject, where NATS enforces it.
//
// Each call subscribes to its own inbox until it returns. If no reply comes, or there
// are no responders for a moment, the call sends its message again with the same reply
// subject, so that a reply to any of the messages counts. This is safe: a request
// carries an idempotency key, and the other calls are idempotent.
//
// An [Admin] calls the admin service, on the subjects lessor.admin.…, in the broker's
// own account.
//
// An error from the broker is a *[messages.Error], with a code to switch on. Other
// errors are about the way to the broker and wrap nats.ErrNoResponders,
// nats.ErrPermissionViolation or the error of the context.
package client

// Package consumer handles the messages of an installation: it is the broker
// without the scheduler. Any number of consumers share the work through the same
// streams.
//
// The package itself is wiring. [New] makes sure of streams and buckets and builds the
// components; [Consumer.Start] starts workers, micro services and maintenance;
// [Consumer.Stop] ends them. File wiring.go has the components and their settings.
// Those that a request meets, in that order:
//
//	internal/api         the micro service for requesters: checks a request, puts it on its stream
//	internal/queue       streams, workers, tasks and their outcomes: the one place that acknowledges
//	internal/lease       the engine: request, delivery, confirmation, renewal, revocation, teardown
//	internal/secrets     dynamic secrets: definitions, their cache, their deletion
//	internal/connection  how an AWS account is reached; rotation of its access key
//	internal/store       lease records, group commit, free-space reserve
//	internal/events      the events: audit trail and trigger for automation
//
// The others work beside it:
//
//	internal/admin       the micro service for operators
//	internal/sweep       finds and removes orphans: IAM users that no lease knows
//	internal/restore     the restore guard: no lease ends because of a record from a backup
//	internal/health      the problems that keep the broker from its work
//	internal/endpoint    what api and admin have in common
//	internal/listing     pages of leases, for api and admin
//
// No state of a message is kept in memory. If a worker dies, the record says how far
// it came, and the message is redelivered to another worker. What takes longer than a
// message (the deletion of a dynamic secret, a key rotation, a sweep) is stored before
// each step and continued by the maintenance loop of any replica.
package consumer

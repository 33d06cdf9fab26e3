// Package queue takes messages from their streams to handlers, and acknowledges them.
//
// [Topology] is the streams, buckets and consumers that lessor needs; its
// [Monitor] makes them again if they are deleted. [Workers] pull the messages of one
// verb, each worker one message at a time, and give each to a handler as a [Task].
// The handler returns an [Outcome]: acknowledge with an answer, retry, reject, do not
// acknowledge, or continue without the worker. The outcome is carried out in one
// place, [Workers.finish]; no handler acknowledges a message itself. While a task is
// handled JetStream is told every AckWait/3 that it is in progress.
//
// [Outbox] puts messages on the streams: requests and commands that come through the
// API, revocations by the broker itself. [Replier] publishes answers; deliveries of
// credentials are published by package lease, which must learn whether they arrived.
//
// [Lifetime] has the contexts of all this: Running ends when a stop begins, Base when
// the stop waits no longer.
package queue

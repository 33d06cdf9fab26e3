// Package queue is the way of a message from its stream to a handler and off the
// stream again.
//
// [Topology] is the streams, buckets and consumers that lessor needs; its
// [Monitor] makes them again if they are deleted. [Workers] pull the messages of one
// verb, each worker one message at a time, and give each to a handler as a [Task].
// The handler returns an [Outcome]: acknowledge with an answer, retry, reject, do not
// acknowledge, or continue without the worker. The outcome is carried out in one
// place, [Workers.finish]; no handler acknowledges a message itself. While a task is
// handled JetStream is told at a third of AckWait that it is in progress.
//
// [Commands] puts messages on the streams: requests and commands that come through
// the API, revocations by the broker itself. [Replier] publishes answers.
//
// [Lifetime] has the contexts of all this: Running ends when a stop begins, Base when
// it runs out of patience.
package queue

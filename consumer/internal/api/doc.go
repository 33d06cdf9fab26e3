// Package api is the NATS micro service for requesters: the endpoints
// lessor.api.{request,renew,revoke,get,list} followed by the identity.
//
// Requests, renewals and revocations are checked, put on their verb's stream with the
// requester's inbox in the header Lessor-Reply-To, and not answered here: the worker
// sends the one answer. Get and list are answered from the lease bucket. What the worker
// would certainly refuse (a limit, a lease that does not exist) is refused here, so that
// it takes no room on a stream.
//
// Every request goes through [Service.serve]: it is admitted (each identity has a limited
// share of what one replica handles at once), checked, handled within an answer timeout, and
// answered or refused. A refusal is an answer, a log line and, unless the broker stops or
// JetStream fails, an event; a refusal for lack of admission is an answer and a count, so that it costs next to nothing.
//
// Life cycle: [Open], then [Service.Stop] to receive no more requests, and [Service.Wait]
// for those that are handled.
package api

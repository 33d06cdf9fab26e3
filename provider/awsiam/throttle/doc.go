// Package throttle limits the calls that a broker makes to a service whose rate
// limit is not known. It knows nothing of the calls themselves.
//
// A [Limiter] belongs to one account of the service. Until the service first
// throttles a call, the Limiter lets every call pass. From then on it estimates
// the rate that the service accepts from the calls that succeed, and lets calls
// wait in one queue. When the service has not throttled for 30 seconds and no call
// waits, the limit is dropped.
//
//	if err := limiter.Wait(ctx); err != nil {
//		return err // it would not get a slot before ctx ends
//	}
//	err := call(ctx)
//	limiter.Answered(isThrottling(err))
//
// The queue orders calls by [Priority], which the context carries. Calls that end
// access go first, before all others. Each other priority that has calls waiting
// gets at least one slot in eight, so that none starves.
//
// A call that would not get its slot before its context's deadline is not queued:
// [Limiter.Wait] returns a [*WaitError] at once.
//
// A [Budget] is one connection's limiter. Connections that turn out to reach the
// same account share one limiter from then on: see [Accounts].
package throttle

package iamsim

import (
	"context"
	"net/http"
	"time"
)

// reply is the outcome of a call.
type reply struct {
	result []node
	err    error
	drop   bool // close the connection
	empty  bool // respond 200 without a body
}

// ServeHTTP handles one call. Hook, latency, throttling and random faults come before the account itself.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	call := s.log.arrive(req.logEntry())
	out := s.handle(r.Context(), req, call, err)
	code := ""
	if out.err != nil {
		code = asAPIError(out.err).code
	}
	s.log.answer(call, code, out.drop)
	id := s.random.requestID()
	switch {
	case out.drop:
		panic(http.ErrAbortHandler) // closes the connection
	case out.err != nil:
		writeError(w, req.svc, id, out.err)
	case out.empty:
		writeXML(w, http.StatusOK, id, nil)
	default:
		writeResult(w, req.svc, req.action, id, out.result)
	}
}

func (s *Sim) handle(ctx context.Context, req *request, call *Call, malformed error) reply {
	s.mu.Lock()
	hook, faults := s.hook, s.faults
	s.mu.Unlock()
	var v Verdict
	if hook != nil {
		v = hook(ctx, s.log.copy(call))
	}
	if v.Do == DropBefore || !wait(ctx, faults.Latency) {
		return reply{drop: true}
	}
	if err := v.refusal(); err != nil {
		return reply{err: err}
	}
	if err := s.admit(); err != nil {
		return reply{err: err}
	}
	if malformed != nil {
		return reply{err: malformed}
	}
	var out reply
	out.result, out.err = s.act(req)
	if v.After != nil {
		v.After()
	}
	out.drop = v.Do == DropAfter || s.random.chance(faults.DropAnswer)
	out.empty = v.Do == Empty || s.random.chance(faults.EmptyBody)
	return out
}

// admit applies the faults that come before the account: throttling and internal errors.
func (s *Sim) admit() error {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bucket.take(now) {
		return throttled()
	}
	if s.random.chance(s.faults.InternalError) {
		return serviceFailure()
	}
	return nil
}

// act executes a call on the account.
func (s *Sim) act(req *request) ([]node, error) {
	req.now = s.now()
	signingNow := s.signingNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	req.faults = s.faults
	if !req.op.unsigned {
		c, err := s.account.authenticate(req, signingNow)
		if err != nil {
			return nil, err
		}
		req.caller = c
	}
	if err := s.account.authorize(req); err != nil {
		return nil, err
	}
	if req.op.changes && s.random.chance(s.faults.ConcurrentModification) {
		return nil, concurrentModification(req.get("UserName"))
	}
	return req.op.do(s.account, req)
}

// wait waits for d. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of JetStream that nats.go has no names for (nats-server, errors.json).
const (
	codeAccountFull  = 10_002 // JSAccountResourcesExceededErr
	codeNoPeers      = 10_005 // JSClusterNoPeersErrF: too few servers are up for the replicas
	codeNotAvailable = 10_008 // JSClusterNotAvailErr: no leader
	codeNotLeader    = 10_009 // JSClusterNotLeaderErr
	codeServerFull   = 10_023 // JSInsufficientResourcesErr
	codeNoStorage    = 10_047 // JSStorageResourcesExceededErr
	codeStoreFailed  = 10_077 // JSStreamStoreFailedF: the stream's limits, or its disk
	codeOffline      = 10_118 // JSStreamOfflineErr
)

// IsConflict reports whether a write lost a race. A replicated stream has a code of
// its own for that.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, ErrConflict) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// IsSubjectFull reports whether a stream that takes a limited number of messages a
// subject refused one because of that.
func IsSubjectFull(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "per subject")
}

// MayBePartlyStored reports whether a stream may have stored a part of a batch
// although it refused it: its disk failed.
func MayBePartlyStored(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeStoreFailed && !IsSubjectFull(err)
}

// Problem is what is wrong with JetStream, in an operator's words.
type Problem string

// The problems.
const (
	ProblemNoRoom   Problem = "JetStream has no room left: raise its limit, or delete what is not needed; no new leases until then"
	ProblemNoAnswer Problem = "JetStream does not answer: a majority of its servers is away, or it can't write to its disk (then it must be started again when there is room)"
	ProblemMissing  Problem = "it does not exist"
	ProblemDisabled Problem = "JetStream is not enabled on the NATS server, or not for this account"
	ProblemOther    Problem = "it fails"
)

// ProblemOf returns what an error of JetStream means. It goes by codes: the words of
// an API error may change.
func ProblemOf(err error) Problem {
	var api *jetstream.APIError
	isAPI := errors.As(err, &api)
	switch {
	case isAPI && slices.Contains([]jetstream.ErrorCode{codeAccountFull, codeServerFull, codeNoStorage}, api.ErrorCode),
		isAPI && api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "maximum"):
		return ProblemNoRoom
	case isAny(err, jetstream.ErrStreamNotFound, jetstream.ErrNoStreamResponse, jetstream.ErrConsumerNotFound, jetstream.ErrBucketNotFound):
		return ProblemMissing
	case isAny(err, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount, nats.ErrNoResponders):
		return ProblemDisabled
	case isAPI && slices.Contains([]jetstream.ErrorCode{codeNoPeers, codeNotAvailable, codeNotLeader, codeOffline}, api.ErrorCode),
		isAny(err, context.DeadlineExceeded, nats.ErrTimeout):
		return ProblemNoAnswer
	}
	return ProblemOther
}

// Explain puts an operator's words before an error of JetStream.
func Explain(err error) error {
	if p := ProblemOf(err); p != ProblemOther {
		return fmt.Errorf("%s (%w)", p, err)
	}
	return err
}

// IsDisconnected reports whether an error means that there is no connection to NATS.
func IsDisconnected(err error) bool {
	return isAny(err, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrStaleConnection)
}

// IsUnavailable reports whether an error means that NATS or JetStream is not there,
// has no leader or has no room, rather than that it refuses the question.
func IsUnavailable(err error) bool { return ProblemOf(err) != ProblemOther || IsDisconnected(err) }

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

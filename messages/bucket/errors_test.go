package bucket_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/messages/bucket"
)

func TestProblemOfTellsWhatPassesFromWhatIsRefused(t *testing.T) {
	t.Parallel()
	api := func(code jetstream.ErrorCode, words string) error {
		return fmt.Errorf("write x: %w", &jetstream.APIError{Code: 503, ErrorCode: code, Description: words})
	}
	for _, c := range []struct {
		err         error
		want        bucket.Problem
		unavailable bool
	}{
		{api(10_008, "JetStream system temporarily unavailable"), bucket.ProblemNoAnswer, true},
		{api(10_009, "not leader"), bucket.ProblemNoAnswer, true},
		{api(10_047, "insufficient storage resources available"), bucket.ProblemNoRoom, true},
		{api(10_002, "resource limits exceeded for account"), bucket.ProblemNoRoom, true},
		{api(10_077, "maximum bytes exceeded"), bucket.ProblemNoRoom, true},
		{api(10_077, "maximum messages per subject exceeded"), bucket.ProblemNoRoom, true}, // callers ask IsSubjectFull first
		{api(10_003, "bad request"), bucket.ProblemOther, false},
		{jetstream.ErrStreamNotFound, bucket.ProblemMissing, true},
		{jetstream.ErrNoStreamResponse, bucket.ProblemMissing, true},
		{errors.New("another"), bucket.ProblemOther, false},
	} {
		if got := bucket.ProblemOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
		if got := bucket.IsUnavailable(c.err); got != c.unavailable {
			t.Errorf("%v: unavailable %v", c.err, got)
		}
	}
	if pending := api(10_077, "maximum messages per subject exceeded"); !bucket.IsSubjectFull(pending) || bucket.MayBePartlyStored(pending) {
		t.Errorf("%v is not recognized as pending", pending)
	}
	if err := bucket.Explain(api(10_008, "x")); !errors.As(err, new(*jetstream.APIError)) {
		t.Errorf("%v has lost its cause", err)
	}
}

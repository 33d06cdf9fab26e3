package load

import (
	"context"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/proc"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
)

// answers are the replies of a broker, by verb. A verb without an entry has no reply.
type answers map[string]func() messages.Reply

// testRequester is one requester, and the AWS account that it uses.
type testRequester struct {
	*requester
	aws *account.Account
}

// newTestRequester starts NATS, the AWS account, and a subscriber that replies instead of
// a broker.
func newTestRequester(t *testing.T, broker answers) *testRequester {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe("lessor.api.>", func(m *nats.Msg) {
		if answer := broker[strings.Split(m.Subject, ".")[2]]; answer != nil {
			data, err := answer().Encode()
			if err == nil {
				err = m.Respond(data)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	sim := account.New()
	aws, control := httptest.NewServer(sim), httptest.NewServer(sim.ControlHandler())
	t.Cleanup(aws.Close)
	t.Cleanup(control.Close)
	w := &world.World{Dir: t.TempDir(), AWSURL: aws.URL, Control: account.Control{URL: control.URL}, JS: js}
	l := &Load{w: w, tally: verdict.NewTally(), minTTL: 6, ttlSpread: 2, conns: []*nats.Conn{nc}, leases: map[string]bool{}}
	return &testRequester{&requester{Load: l, identity: "soaker0", random: rand.New(rand.NewPCG(1, 1)), nc: nc}, sim}
}

// testLease returns a lease that expires after a time.
func testLease(left time.Duration) messages.Lease {
	end := time.Now().Add(left).UTC().Truncate(time.Second)
	return messages.Lease{
		Name: "soaker0.hard.01", Identity: "soaker0", Secret: world.Hard, ID: "01", State: messages.StateActive,
		Username: "lessor-soaker0", AccessKeyID: "AKIA1", ExpiresAt: end, MaxExpiresAt: end.Add(time.Hour),
	}
}

// leaseReply returns a reply with a lease.
func leaseReply(kind string, l messages.Lease) func() messages.Reply {
	return func() messages.Reply { return messages.Reply{Kind: kind, Lease: &l} }
}

// errorReply returns a reply with an error.
func errorReply(code messages.Code) func() messages.Reply {
	return func() messages.Reply { return messages.ErrorReply(messages.Errorf(code, "rejected"), nil) }
}

// TestRequesterFindsEachViolation gives a requester one violation of each kind that it
// checks.
func TestRequesterFindsEachViolation(t *testing.T) {
	t.Parallel()
	for kind, tt := range map[verdict.Kind]struct {
		broker answers
		do     func(ctx context.Context, r *testRequester)
	}{
		verdict.DeadKey: {answers{"get": leaseReply(messages.KindLease, testLease(time.Hour))}, func(ctx context.Context, r *testRequester) {
			r.testKey(ctx, testLease(0), messages.Credentials{AccessKeyID: "AKIA1", Region: "us-east-1"})
		}},
		verdict.EarlyEnd: {answers{"renew": errorReply(messages.CodeLeaseEnded), "get": leaseReply(messages.KindLease, testLease(time.Hour))}, func(ctx context.Context, r *testRequester) {
			r.renew(ctx, testLease(time.Hour))
		}},
		verdict.NotRenewed: {answers{"renew": leaseReply(messages.KindRenewed, testLease(time.Minute))}, func(ctx context.Context, r *testRequester) {
			r.renew(ctx, testLease(time.Hour))
		}},
		verdict.NotRevoked: {answers{"revoke": leaseReply(messages.KindRevoked, testLease(0))}, func(ctx context.Context, r *testRequester) {
			l := testLease(time.Hour)
			r.aws.AddUser(l.Username, "/lessor/soak/", map[string]string{"lessor:lease": l.Name})
			r.revoke(ctx, l)
		}},
		verdict.WrongAnswer: {answers{"request": errorReply(messages.CodeInternal)}, func(ctx context.Context, r *testRequester) { r.requestWithClient(ctx) }},
		verdict.Unanswered: {answers{}, func(ctx context.Context, r *testRequester) {
			r.requestAtEnd(world.Hard, messages.LeaseRequest{}, "k")
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			r.atEnd[0](ctx)
		}},
		verdict.NotReady: {nil, func(ctx context.Context, r *testRequester) {
			r.w.Brokers, r.w.Health = []*proc.Process{{Name: "broker1"}}, []string{"127.0.0.1:1"}
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			r.Settle(ctx)
		}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newTestRequester(t, tt.broker)
			tt.do(t.Context(), r)
			v := r.tally.Verdict(1, time.Minute)
			if v.OK || v.Count(string(kind)) != 1 || len(v.Violations) != 1 || v.Violations[0].Kind != kind {
				t.Errorf("the verdict is %v:\n%s", v.OK, v.Table())
			}
		})
	}
}

// TestRequesterExcusesAnOperatorsRevocation checks a lease that ended early because an
// operator revoked it.
func TestRequesterExcusesAnOperatorsRevocation(t *testing.T) {
	t.Parallel()
	ended := testLease(time.Hour)
	ended.State, ended.Reason = messages.StateRevoked, messages.ReasonOperator
	r := newTestRequester(t, answers{"get": leaseReply(messages.KindLease, ended)})
	r.tally.OperatorEnds("soaker0.hard.01")
	if !r.excused(t.Context(), testLease(time.Hour)) {
		t.Error("the lease is not excused")
	}
	if v := r.tally.Verdict(1, time.Minute); !v.OK {
		t.Errorf("the verdict is bad:\n%s", v.Table())
	}
}

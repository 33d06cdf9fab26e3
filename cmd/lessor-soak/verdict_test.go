//go:build unix

package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/proc"
	"github.com/lessorhq/lessor/cmd/lessor"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/audit"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/load"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// impostor answers requesters as a broker would, and wrongly.
type impostor map[string]func() messages.Reply // by verb; a verb that is not there has no answer

// sham is a world for one requester, with an impostor for a broker.
type sham struct {
	*load.requester
	t     *testing.T
	aws   *account.Account
	audit *audit.Audit
}

func newSham(t *testing.T, broker impostor) *sham {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	nc := main.at(server.URL()).connect(t)
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
	account := account.New()
	aws, control := httptest.NewServer(account), httptest.NewServer(account.Control())
	t.Cleanup(aws.Close)
	t.Cleanup(control.Close)
	w := &world.World{Dir: t.TempDir(), tally: verdict.NewTally(), AWSURL: aws.URL, Control: account.Control{control.URL}, JS: js}
	load := &load.Load{w: w, tally: w.tally, least: 6, spread: 2, conns: []*nats.Conn{nc}, leases: map[string]bool{}}
	return &sham{
		t: t, aws: account, audit: audit.New(w, w.tally),
		requester: &load.requester{Load: load, identity: "soaker0", random: rand.New(rand.NewPCG(1, 1)), nc: nc},
	}
}

// shamLease is a lease that ends after a time.
func shamLease(left time.Duration) messages.Lease {
	end := time.Now().Add(left).UTC().Truncate(time.Second)
	return messages.Lease{
		Name: "soaker0.hard.01", Identity: "soaker0", Secret: world.Hard, ID: "01", State: messages.StateActive,
		Username: "lessor-soaker0", AccessKeyID: "AKIA1", ExpiresAt: end, MaxExpiresAt: end.Add(time.Hour),
	}
}

// answers is an answer with a lease.
func answers(kind string, l messages.Lease) func() messages.Reply {
	return func() messages.Reply { return messages.Reply{Kind: kind, Lease: &l} }
}

func refuses(code messages.Code) func() messages.Reply {
	return func() messages.Reply { return messages.ErrorReply(messages.Errorf(code, "no"), nil) }
}

// shamRecord is what a record would say of shamLease.
func shamRecord(state messages.State, ended time.Duration) record.Record {
	l := shamLease(-ended)
	return record.Record{
		State: state, Identity: l.Identity, Secret: l.Secret, ID: l.ID, Attempt: 1, User: record.User{Name: l.Username},
		IssuedAt: l.ExpiresAt.Add(-time.Minute), ExpiresAt: l.ExpiresAt, AccessKeyID: l.AccessKeyID,
	}
}

func shamUser() account.User {
	l := shamLease(0)
	return account.User{Name: l.Username, Lease: l.Name, Key: l.AccessKeyID, Allowed: true}
}

func shamEvent(t messages.EventType, key string) messages.Event {
	l := shamLease(0)
	l.AccessKeyID = key
	return messages.NewEvent("x", messages.LeaseName{Identity: l.Identity, Secret: l.Secret, ID: l.ID}, t, "1", time.Now(), messages.EventData{Lease: &l})
}

// TestEachFigureCanBeBad shows the verdict what each figure is for.
func TestEachFigureCanBeBad(t *testing.T) {
	t.Parallel()
	active := answers(messages.KindLease, shamLease(time.Hour))
	cases := map[string]struct {
		broker impostor
		do     func(ctx context.Context, s *sham)
	}{
		"users_left": {do: func(_ context.Context, s *sham) { s.audit.judgeLast([]account.User{shamUser()}, nil, nil, 1) }},
		"leases_left": {do: func(_ context.Context, s *sham) {
			s.audit.judgeLast(nil, []record.Record{shamRecord(messages.StateActive, 0)}, nil, 1)
		}},
		"queued": {do: func(_ context.Context, s *sham) {
			s.audit.judgeLast(nil, nil, map[messages.Verb]uint64{"revoke": 2}, 1)
		}},
		"rotation": {do: func(_ context.Context, s *sham) { s.audit.judgeLast(nil, nil, nil, 2) }},
		"late": {do: func(_ context.Context, s *sham) {
			rec := shamRecord(messages.StateRevoking, time.Second)
			none := func() bool { return false }
			s.audit.judge(shamUser(), rec, time.Now(), none)
			s.audit.served.Add(int64(verdict.LateBound + time.Second))
			s.audit.judge(shamUser(), rec, time.Now(), none)
		}},
		"late, without a key": {do: func(_ context.Context, s *sham) {
			rec, user := shamRecord(messages.StateRevoking, time.Second), shamUser()
			user.Key = ""
			none := func() bool { return false }
			s.audit.judge(user, rec, time.Now(), none)
			s.audit.served.Add(int64(verdict.LateBound + time.Second))
			s.audit.judge(user, rec, time.Now(), none)
			if n := s.tally.Verdict(1, time.Minute).Count("late"); n > 0 {
				s.t.Error("a user without a key is late after a minute")
			}
			s.audit.served.Add(int64(verdict.CleanupBound))
			s.audit.judge(user, rec, time.Now(), none)
		}},
		"beyond": {do: func(_ context.Context, s *sham) {
			for range 3 {
				s.audit.judge(shamUser(), shamRecord(messages.StateActive, 5*time.Second), time.Now(), func() bool { return false })
			}
		}},
		"two_users": {do: func(_ context.Context, s *sham) {
			other := shamUser()
			other.Name = "lessor-another"
			for range 3 {
				s.audit.judgeAll([]account.User{shamUser(), other})
			}
		}},
		"two_keys": {do: func(_ context.Context, s *sham) {
			s.tally.Told("k", "AKIA1", "soaker0.hard.01")
			s.tally.Told("k", "AKIA2", "soaker0.hard.01")
			s.audit.judgeEvents(nil, nil)
		}},
		"order": {do: func(_ context.Context, s *sham) {
			s.audit.judgeEvents([]messages.Event{
				shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"), shamEvent(messages.EventIssued, "AKIA1"),
			}, nil)
		}},
		"untold": {do: func(_ context.Context, s *sham) {
			s.audit.judgeEvents([]messages.Event{shamEvent(messages.EventIssued, "AKIA1")}, nil)
		}},
		"secrets": {do: func(_ context.Context, s *sham) {
			s.audit.secrets = []string{"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
			if err := os.WriteFile(filepath.Join(s.w.Dir, "broker1.log"), []byte("key="+s.audit.secrets[0]), 0o600); err != nil {
				s.t.Fatal(err)
			}
			if err := s.audit.Search(); err != nil {
				s.t.Fatal(err)
			}
		}},
		"dead_key": {impostor{"get": active}, func(ctx context.Context, s *sham) {
			s.works(ctx, shamLease(0), messages.Credentials{AccessKeyID: "AKIA1", Region: "us-east-1"})
		}},
		"early": {impostor{"renew": refuses(messages.CodeLeaseEnded), "get": active}, func(ctx context.Context, s *sham) {
			s.renew(ctx, shamLease(time.Hour))
		}},
		"not_renewed": {impostor{"renew": answers(messages.KindRenewed, shamLease(time.Minute))}, func(ctx context.Context, s *sham) {
			s.renew(ctx, shamLease(time.Hour))
		}},
		"not_revoked": {impostor{"revoke": answers(messages.KindRevoked, shamLease(0))}, func(ctx context.Context, s *sham) {
			l := shamLease(time.Hour)
			s.aws.AddUser(l.Username, "/lessor/soak/", map[string]string{"lessor:lease": l.Name})
			s.revoke(ctx, l)
		}},
		"wrong": {impostor{"request": refuses(messages.CodeInternal)}, func(ctx context.Context, s *sham) { s.politely(ctx) }},
		"unanswered": {impostor{}, func(ctx context.Context, s *sham) {
			s.again(world.Hard, messages.LeaseRequest{}, "k")
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			s.open[0](ctx)
		}},
		"unanswered, though stored": {do: func(_ context.Context, s *sham) {
			s.tally.Owed("soaker0-1")
			s.audit.judgeEvents([]messages.Event{shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		"untold, the beginning": {do: func(_ context.Context, s *sham) {
			s.audit.judgeEvents([]messages.Event{shamEvent(messages.EventRevoked, "AKIA1")}, nil)
		}},
		"two_keys, in the events": {do: func(_ context.Context, s *sham) {
			s.audit.judgeEvents([]messages.Event{
				shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventIssued, "AKIA2"), shamEvent(messages.EventRevoked, "AKIA2"),
			}, nil)
		}},
		"unready": {do: func(ctx context.Context, s *sham) {
			s.w.Brokers, s.w.health = []*proc.Process{{Name: "broker1"}}, []string{"127.0.0.1:1"}
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			s.Settle(ctx)
		}},
		"died": {do: func(_ context.Context, s *sham) {
			p := s.w.process("nats9", []string{"node", "--cluster", "nowhere"}, []string{clitest.BeProgram + "=1"})
			if err := p.Start(); err != nil {
				s.t.Fatal(err)
			}
			clitest.Eventually(s.t, "its end is noticed", func() bool { return s.tally.Verdict(0, 0).Count("died") > 0 })
			p.Kill()
		}},
	}
	left := map[string]bool{}
	for _, f := range verdict.MustBeZero {
		left[f.Name] = true
	}
	for name, c := range cases {
		figure, _, _ := strings.Cut(name, ",")
		delete(left, figure)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSham(t, c.broker)
			c.do(t.Context(), s)
			v := s.tally.Verdict(1, time.Minute)
			if v.OK || v.Count(figure) != 1 || len(v.Violations) != 1 || v.Violations[0].Kind != figure {
				t.Errorf("the verdict is %v:\n%s", v.OK, v.Table())
			}
		})
	}
	if len(left) != 0 {
		t.Errorf("nothing shows that these can be bad: %v", slices.Sorted(maps.Keys(left)))
	}
}

// TestWhatIsRightIsNotHeldAgainstABroker has the auditor look at what only seems bad.
func TestWhatIsRightIsNotHeldAgainstABroker(t *testing.T) {
	t.Parallel()
	s := newSham(t, impostor{"get": func() messages.Reply {
		l := shamLease(time.Hour)
		l.State, l.Reason = messages.StateRevoked, messages.ReasonOperator
		return messages.Reply{Kind: messages.KindLease, Lease: &l}
	}})
	renews := func() bool { return true }
	for range 4 {
		s.audit.judge(shamUser(), shamRecord(messages.StateActive, 5*time.Second), time.Now(), renews) // it will move
		s.audit.judgeAll([]account.User{shamUser()})
	}
	s.audit.judgeLast(nil, []record.Record{shamRecord(messages.StateRevoking, 0)}, nil, 1)
	s.audit.judgeEvents([]messages.Event{
		shamEvent(messages.EventIssued, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"), shamEvent(messages.EventRevoked, "AKIA1"),
	}, nil)
	s.tally.Ordered("soaker0.hard.01", false)
	if !s.excused(t.Context(), shamLease(time.Hour)) {
		t.Error("an operator has ended it")
	}
	if v := s.tally.Verdict(1, time.Minute); !v.OK {
		t.Errorf("the verdict is bad:\n%s", v.Table())
	}
}

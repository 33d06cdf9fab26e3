package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/natstest"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// secrets are fake dynamic secrets: those that exist, by name.
type secrets struct {
	infos    map[string]messages.SecretInfo
	deleting []string
	put      messages.DynamicSecret // the last one that was put
}

func (s *secrets) Info(_ context.Context, name string) (messages.SecretInfo, error) {
	if i, ok := s.infos[name]; ok {
		return i, nil
	}
	return messages.SecretInfo{}, messages.Errorf(messages.CodeSecretNotFound, "there is no dynamic secret %q", name)
}

func (s *secrets) List(context.Context) ([]messages.SecretInfo, error) {
	return []messages.SecretInfo{{Name: "ci"}}, nil
}

func (s *secrets) Deleting() []string { return s.deleting }

func (s *secrets) Check(messages.DynamicSecret) error { return nil }

func (s *secrets) CouldPut(context.Context, messages.DynamicSecret, *uint64) error { return nil }

func (s *secrets) PutAt(_ context.Context, d messages.DynamicSecret, _ string, _ *uint64) (bool, error) {
	s.put = d
	s.infos[d.Name] = messages.SecretInfo{Name: d.Name, Revision: 7}
	return true, nil
}

func (s *secrets) Delete(_ context.Context, o messages.SecretRequest) (messages.SecretDeletion, error) {
	return messages.SecretDeletion{Name: o.Name, Leases: 2}, nil
}

// restorer returns what it was asked for.
type restorer struct{}

func (restorer) Report(context.Context) (messages.Restore, error) {
	return messages.Restore{Guarded: true}, nil
}

func (restorer) Apply(context.Context) (messages.Restore, error) {
	return messages.Restore{Applied: true}, nil
}

// sweeper finds nothing.
type sweeper struct{}

func (sweeper) Run(context.Context, bool) ([]messages.Sweep, error) { return []messages.Sweep{}, nil }

// world is an admin service and what it works with.
type world struct {
	*natstest.Server
	t       *testing.T
	secrets *secrets
	check   messages.SecretCheck // what a dry run returns
	revoked []string
	admin   *Service
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		Server: natstest.Start(t, time.Now), t: t, check: messages.SecretCheck{Name: "ci", OK: true},
		secrets: &secrets{infos: map[string]messages.SecretInfo{"ci": {Name: "ci", Revision: 3}}},
	}
	cfg := Config{
		Conn: w.Conn, Leases: w.Leases, Events: w.Events, Secrets: w.secrets, Sweeper: sweeper{}, Restorer: restorer{},
		Secret: func(_ context.Context, name string) (messages.DynamicSecret, error) {
			return messages.DynamicSecret{Name: name}, nil
		},
		DryRun:    func(context.Context, messages.DynamicSecret) (messages.SecretCheck, error) { return w.check, nil },
		RotateKey: func(context.Context, string) error { return nil },
		GiveUp: func(_ context.Context, name messages.LeaseName, reason string) (messages.Lease, error) {
			return messages.Lease{Name: name.String() + " " + reason}, nil
		},
		Revoke: func(_ context.Context, name messages.LeaseName, why messages.Reason, note string, wait bool) error {
			w.revoked = append(w.revoked, fmt.Sprint(name, " ", why, " ", note, " ", wait))
			return nil
		},
		Keys: w.Keys, Lifetime: w.Lifetime, Rand: rand.Reader, Log: zerolog.Nop(),
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if w.admin, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// command carries out a command, which must succeed.
func (w *world) command(subject, body string) messages.Reply {
	w.t.Helper()
	r := w.Request(w.t, subject, body)
	if r.Kind == messages.KindError {
		w.t.Fatalf("%s: %v", subject, r.Error)
	}
	return r
}

// audit returns the commands in the events, one line each.
func (w *world) audit() string {
	w.t.Helper()
	var lines []string
	for _, e := range w.Emitted(w.t, messages.EventCommand) {
		c := e.Data.Command
		line := fmt.Sprintf("%s %s %s", c.Name, c.Secret, c.Outcome)
		if c.By != "" {
			line += " by " + c.By
		}
		if e.Data.Error != nil {
			line += " " + string(e.Data.Error.Code)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestChangesAreAuditedBeforeAndAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.command("lessor.admin.secret.delete", `{"name":"ci"}`)
	w.command("lessor.admin.as.kim.sweep", `{}`)
	w.command("lessor.admin.secret.list", "")
	w.command("lessor.admin.as.kim.secret.get", `{"name":"ci"}`)
	w.Request(t, "lessor.admin.as.kim.secret.rotate-key", `{"name":"gone"}`)
	w.Request(t, "lessor.admin.secret.get", `{"name":"nope"}`)
	w.Request(t, "lessor.admin.secret.delete", `{"nam`)
	want := strings.Join([]string{
		"secret-delete ci asked", "secret-delete ci done",
		"sweep  asked by kim", "sweep  done by kim",
		"secret-rotate-key gone asked by kim", "secret-rotate-key gone refused by kim secret_not_found",
		"secret-get nope refused secret_not_found",
		"secret-delete  asked", "secret-delete  refused invalid_request",
	}, "\n")
	if got := w.audit(); got != want {
		t.Errorf("audited:\n%s\nwant:\n%s", got, want)
	}
}

func TestChangeIsNotCarriedOutIfItCannotBeAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Events = failingEvents{c.Events} })
	if r := w.Request(t, "lessor.admin.secret.put", `{"definition":{"name":"new"},"no_check":true}`); r.Error == nil || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("%+v", r)
	}
	if w.secrets.put.Name != "" {
		t.Error("it was put")
	}
}

// failingEvents are events that can't be emitted.
type failingEvents struct{ Events }

func (failingEvents) Emit(context.Context, messages.LeaseName, messages.EventType, string, messages.EventData) error {
	return errors.New("NATS is away")
}

// A command that waits for a deletion asks how far it is, again and again.
func TestProgressOfADeletionIsNotAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secrets.deleting = []string{"ci"}
	w.command("lessor.admin.secret.delete", `{"name":"ci"}`)
	if got := w.audit(); got != "" {
		t.Errorf("audited: %s", got)
	}
	w.command("lessor.admin.secret.delete", `{"name":"ci","force":true}`)
	if got := w.audit(); got != "secret-delete ci asked\nsecret-delete ci done" {
		t.Errorf("audited: %s", got)
	}
}

func TestDefinitionThatDoesNotWorkIsNotPut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.check.OK = false
	r := w.Request(t, "lessor.admin.secret.put", `{"definition":{"name":"new"}}`)
	if r.Error == nil || r.Error.Code != messages.CodeCheckFailed || r.Check == nil || w.secrets.put.Name != "" {
		t.Errorf("%+v", r)
	}
	w.check.OK = true
	r = w.command("lessor.admin.secret.put", `{"definition":{"name":"new"}}`)
	if !r.Check.OK || !r.Secret.Changed || r.Secret.Revision != 7 || w.secrets.put.Name != "new" {
		t.Errorf("%+v", r)
	}
	if e := w.Emitted(t, messages.EventCommand); e[len(e)-1].Data.Command.Revision != 7 {
		t.Errorf("%+v", e[len(e)-1].Data.Command)
	}
}

func TestLeasesAreListedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.save("alice", "live", func(r record.Record) record.Record { return r })
	w.save("bob", "failing", func(r record.Record) record.Record {
		r.State, r.TeardownError = messages.StateRevoking, "AWS is away"
		return r
	})
	w.save("bob", "ended", func(r record.Record) record.Record { r.State = messages.StateRevoked; return r })
	for key, value := range map[string]string{"alice.ci.damaged": `{}`, "no-lease": `{}`} {
		if _, err := w.Leases.Put(t.Context(), key, []byte(value), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	r := w.command("lessor.admin.lease.list", `{"limit":1}`)
	if len(r.Leases) != 1 || r.Next != "alice.ci.live" || len(r.Unreadable) != 2 || r.Unreadable[0].Key != "alice.ci.damaged" || r.Unreadable[0].Why == "" {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.lease.list", `{"after":"alice.ci.live"}`); len(r.Leases) != 1 || len(r.Unreadable) != 0 {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.lease.list", `{"failing":true}`); len(r.Leases) != 1 || r.Leases[0].ID != "failing" {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		subject, body string
		code          messages.Code
		revoked       string
	}{
		{"lessor.admin.lease.revoke", `{"secret":"ci","reason":"leaked"}`, "", "alice.ci.live operator leaked true|bob.ci.failing operator leaked true"},
		{"lessor.admin.lease.revoke", `{"lease":"alice.ci.live"}`, "", "alice.ci.live operator  true"},
		{"lessor.admin.lease.revoke", `{"lease":"bob.ci.ended"}`, messages.CodeLeaseNotFound, ""},
		{"lessor.admin.lease.revoke", `{"lease":"alice.ci.damaged"}`, messages.CodeRecordUnreadable, ""},
		{"lessor.admin.lease.retry", `{}`, "", "bob.ci.failing operator  true"},
		{"lessor.admin.lease.retry", `{"identity":"alice"}`, "", ""},
	} {
		w.revoked = nil
		r := w.Request(t, c.subject, c.body)
		var code messages.Code
		if r.Error != nil {
			code = r.Error.Code
		}
		slices.Sort(w.revoked)
		revoked := strings.Join(w.revoked, "|")
		if code != c.code || revoked != c.revoked || c.code == "" && r.Accepted.Leases != len(w.revoked) {
			t.Errorf("%s: %s, revoked %q", c.body, code, revoked)
		}
	}
	if r := w.command("lessor.admin.lease.revoke", `{"lease":"bob.ci.failing","force":true,"reason":"why"}`); r.Kind != messages.KindRevoked || r.Lease.Name != "bob.ci.failing why" {
		t.Errorf("%+v", r)
	}
}

func TestOtherCommandsReachTheirComponents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.command("lessor.admin.restore", ""); !r.Restore.Guarded {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.restore", `{"apply":true}`); !r.Restore.Applied {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.sweep", ""); r.Kind != messages.KindSweep || r.Sweeps == nil {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.key", ""); r.Key != w.Keys.PublicKeys()[0] {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.secret.check", `{"name":"ci"}`); !r.Check.OK {
		t.Errorf("%+v", r)
	}
	if r := w.command("lessor.admin.secret.rotate-key", `{"name":"ci"}`); r.Secret.Revision != 3 {
		t.Errorf("%+v", r)
	}
}

// The broker publishes with its own authority: a reply subject of another kind could be
// a stream's.
func TestReplySubjectThatIsNoInboxIsNotAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers, err := w.Conn.SubscribeSync("lessor.event.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Conn.PublishRequest("lessor.admin.key", "lessor.event.a.b.c.issued", nil); err != nil {
		t.Fatal(err)
	}
	w.command("lessor.admin.key", "")
	w.admin.Wait()
	if msg, err := answers.NextMsg(time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("answered: %v, %v", msg, err)
	}
	if r := w.Request(t, "lessor.admin.key", ""); r.Error == nil || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("after the stop: %+v", r)
	}
}

func TestOperatorThatIsNoTokenIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.Request(t, "lessor.admin.as.KIM.key", ""); r.Error == nil || r.Error.Code != messages.CodeInvalidSubject {
		t.Errorf("%+v", r)
	}
}

func TestTooManyCommandsAtOnceAreRefused(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(c *Config) {
		c.DryRun = func(context.Context, messages.DynamicSecret) (messages.SecretCheck, error) {
			entered <- struct{}{}
			<-release
			return messages.SecretCheck{}, nil
		}
	})
	for range maxCommands {
		if err := w.Conn.PublishRequest("lessor.admin.secret.check", w.Conn.NewInbox(), []byte(`{"name":"ci"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for range maxCommands {
		<-entered
	}
	if r := w.Request(t, "lessor.admin.key", ""); r.Error == nil || r.Error.Code != messages.CodeUnavailable {
		t.Errorf("%+v", r)
	}
	close(release)
	w.admin.Wait()
}

// save writes a record of a lease of ci.
func (w *world) save(identity, id string, change func(record.Record) record.Record) {
	w.t.Helper()
	plan := record.Plan{Name: messages.LeaseName{Identity: identity, Secret: "ci", ID: id}, TTL: messages.Duration(time.Hour)}
	r := record.New(plan, time.Now(), record.Timing{}.WithDefaults())
	if _, err := w.Leases.Save(w.t.Context(), change(r), 0); err != nil {
		w.t.Fatal(err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/messages"
)

// stopAt calls stop when so many lines were written.
type stopAt struct {
	clitest.Buffer
	lines int
	stop  func()
}

func (s *stopAt) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Count(s.String(), "\n") >= s.lines {
		s.stop()
	}
	return n, err
}

func TestEventsCommandFiltersAndFollows(t *testing.T) {
	x, nc, _ := cannedBroker(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := x.Run(t.Context(), "events", "--no-follow"); code != cli.ExitFailed || !strings.Contains(stderr, "LESSOR_EVENT") {
		t.Errorf("without a stream: %d, %s", code, stderr)
	}
	ns := messages.Namespace{}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: ns.EventStream(), Subjects: []string{ns.EventFilter()}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	emit := func(lease string, kind messages.EventType, d messages.EventData) {
		t.Helper()
		l, err := messages.ParseLeaseName(lease)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(messages.NewEvent("here", l, kind, "1", clitest.Now, d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), ns.Event(l, kind), data); err != nil {
			t.Fatal(err)
		}
	}
	emit("alice.ci.01", messages.EventIssued, messages.EventData{})
	emit("bob.ci.02", messages.EventFailed, messages.EventData{Error: messages.Errorf(messages.CodeProviderDenied, "no right to iam:CreateUser")})
	emit("alice.ci.01", messages.EventRevoked, messages.EventData{Reason: messages.ReasonRequested, Note: "done"})

	all := `2026-11-22T22:00:00Z  issued          alice.ci.01
2026-11-22T22:00:00Z  failed          bob.ci.02  error="provider_denied: no right to iam:CreateUser"
2026-11-22T22:00:00Z  revoked         alice.ci.01  reason="requested"  note="done"
`
	lines := strings.SplitAfter(all, "\n")
	for args, want := range map[string]string{
		"":                                all,
		"-i alice":                        lines[0] + lines[2],
		"--lease bob.ci.02":               lines[1],
		"--type failed --type issued":     lines[0] + lines[1],
		"--since 2026-01-01T00:00:00Z":    all,
		"--lease bob.ci.02 --type issued": "",
	} {
		stdout, stderr, code := x.Run(t.Context(), append([]string{"events", "--no-follow"}, strings.Fields(args)...)...)
		if code != cli.ExitOK || stdout != want {
			t.Errorf("events %s: exit code %d, %s\n%s", args, code, stderr, stdout)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &stopAt{lines: 3, stop: cancel}
	x.Stdout = out
	if _, stderr, code := x.Run(ctx, "events", "--json"); code != cli.ExitOK {
		t.Errorf("followed until interrupted: %d, %s", code, stderr)
	}
	if e := decode(t, strings.SplitAfter(out.String(), "\n")[1]); e["type"] != "lessor.lease.failed" {
		t.Errorf("json: %v", e)
	}
}

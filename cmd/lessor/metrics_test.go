//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lessorhq/lessor/cmd/internal/broker"
	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// samples returns the values on a metrics page.
func samples(t *testing.T, page string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[line[:at]] = v
	}
	return all
}

// TestMetricsCountEverything does once everything that is counted.
func TestMetricsCountEverything(t *testing.T) {
	t.Parallel()
	m := broker.NewMetrics("v1.2.3")
	o := newDeployment(t, clitest.Options{OnCall: m.Called, Configure: func(c *consumer.Config) {
		c.Meter, c.MinTTL, c.Sweep.Grace, c.MaintainEvery = m, messages.Duration(time.Second), time.Nanosecond, time.Millisecond
		c.NoRespondersWait = 50 * time.Millisecond
	}})
	m.Watch(o.Broker.Scheduler.Counts)
	state := broker.NewReadiness()
	state.Up(o.Broker)
	stop, address, err := broker.ServeHealth("127.0.0.1:0", state, m.Handler())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	o.put(plain)
	page := ""
	shows := func(want map[string]float64) {
		t.Helper()
		wrong := ""
		for end := time.Now().Add(clitest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			var status int
			if page, status = clitest.Probe(address, "/metrics"); status != http.StatusOK {
				t.Fatalf("status %d: %s", status, page)
			}
			have := samples(t, page)
			wrong = ""
			for name, v := range want {
				if got, ok := have[name]; !ok || got != v {
					wrong += fmt.Sprintf("%s is %v, want %v\n", name, got, v)
				}
			}
			if wrong == "" {
				return
			}
		}
		t.Fatalf("wrong for too long:\n%s\n%s", wrong, page)
	}
	shows(map[string]float64{`lessor_leases{state="active"}`: 0, "lessor_failed_revocations": 0, "lessor_unreadable_records": 0, "lessor_held": 0,
		"lessor_orphans_held": 0, `lessor_orphans_total{outcome="removed"}`: 0})

	first, second := o.lease("ci"), o.lease("ci")
	o.OK(t, "renew", first.Lease.Name, "--ttl", "2h")
	o.OK(t, "request", "ci", "-i", "alice", "--ttl", "1s")
	if _, _, code := o.Run(t.Context(), "request", "nothing", "-i", "alice"); code != cli.ExitFailed {
		t.Error("a missing secret is leased")
	}
	shows(map[string]float64{
		`lessor_messages_total{outcome="issued",verb="request"}`:                  3,
		`lessor_messages_total{outcome="secret_not_found",verb="request"}`:        1,
		`lessor_messages_total{outcome="renewed",verb="renew"}`:                   1,
		`lessor_messages_total{outcome="revoked",verb="revoke"}`:                  1, // it expired
		`lessor_issue_duration_seconds_count`:                                     3,
		`lessor_revoke_duration_seconds_count`:                                    1,
		`lessor_expiry_lag_seconds_count`:                                         1,
		`lessor_aws_calls_total{action="CreateUser",outcome="ok"}`:                3,
		`lessor_leases{state="active"}`:                                           2,
		`lessor_build_info{goversion="` + goVersion(page) + `",version="v1.2.3"}`: 1,
	})

	// A teardown that fails and is retried.
	o.Deny("DeleteUser")
	_, _, _ = o.Run(t.Context(), "revoke", first.Lease.Name)
	shows(map[string]float64{"lessor_failed_revocations": 1, "lessor_revocation_failures_total": 1, `lessor_leases{state="revoking"}`: 1,
		`lessor_aws_calls_total{action="DeleteUser",outcome="refused"}`: 1})
	o.allowAll(first)
	shows(map[string]float64{"lessor_failed_revocations": 0, `lessor_messages_total{outcome="revoked",verb="revoke"}`: 2, `lessor_leases{state="revoking"}`: 0})

	// Unreadable records, orphans, and orphans that wait for an operator.
	nc := o.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	write := func(bucket, key, value string) {
		t.Helper()
		kv, err := js.KeyValue(t.Context(), bucket)
		if err == nil {
			_, err = kv.PutString(t.Context(), key, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(messages.Namespace{}.LeaseBucket(), "alice.ci.damaged", "{")
	shows(map[string]float64{"lessor_unreadable_records": 1})
	stray := func(name string) {
		o.Sim.AddUser(name, "/lessor/ci/", map[string]string{"lessor:installation": o.Broker.Installation(), "lessor:lease": "bob.ci." + name, "lessor:attempt": "1"})
	}
	stray("lost")
	o.OK(t, "sweep")
	shows(map[string]float64{`lessor_orphans_total{outcome="removed"}`: 1, `lessor_orphans_total{outcome="failed"}`: 0})
	write(messages.Namespace{}.StateBucket(), "hold", `{"v":1,"since":"2026-11-22T22:00:00Z","sequence":1,"why":"a test"}`)
	stray("newer")
	shows(map[string]float64{"lessor_held": 1})
	if text, status := clitest.Probe(address, "/readyz"); status != http.StatusOK || !strings.Contains(text, "held: a test") {
		t.Errorf("ready is %d, %s", status, text)
	}
	o.expect(cli.ExitFailed, "there are many", "", "sweep")
	shows(map[string]float64{"lessor_orphans_held": 1})
	o.expect(cli.ExitFailed, "1 users are orphaned", "is active", "restore")
	o.expect(cli.ExitFailed, `"held":true`, "", "restore", "--json")
	o.expect(cli.ExitOK, "the restore guard is lifted", "", "restore", "--apply")
	shows(map[string]float64{"lessor_held": 0, "lessor_orphans_held": 0, `lessor_orphans_total{outcome="removed"}`: 2})
	o.expect(cli.ExitOK, "the restore guard is not active", "", "restore", "--apply")
	o.expect(cli.ExitOK, "alice.ci.damaged  ", "", "list", "--failed")
	o.expect(cli.ExitOK, `"unreadable":[{"key":"alice.ci.damaged","revision":`, "", "list", "--failed", "--json")

	// AWS throttles, and does not answer; a delivery has no responders; a message is
	// redelivered.
	var throttled, dropped atomic.Bool
	o.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		switch {
		case c.Action == "CreateUser" && throttled.CompareAndSwap(false, true):
			return iamsim.Verdict{Do: iamsim.Fail, Status: 400, Code: "Throttling"}
		case c.Action == "DeleteAccessKey" && dropped.CompareAndSwap(false, true):
			return iamsim.Verdict{Do: iamsim.DropBefore}
		}
		return iamsim.Verdict{}
	})
	msg := nats.NewMsg(messages.Namespace{}.Request("alice", "ci"))
	msg.Header.Set(messages.HeaderReplyTo, "_INBOX.none")
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	shows(map[string]float64{"lessor_undelivered_total": 1, `lessor_messages_total{outcome="undelivered",verb="request"}`: 1,
		`lessor_aws_calls_total{action="CreateUser",outcome="throttled"}`: 1, `lessor_aws_calls_total{action="DeleteAccessKey",outcome="unanswered"}`: 1})
	if _, err := js.Publish(t.Context(), "lessor.revoke.alice.ci.damaged", nil); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a message is redelivered", func() bool {
		page, _ = clitest.Probe(address, "/metrics")
		return samples(t, page)[`lessor_redeliveries_total{verb="revoke"}`] > 1
	})
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for name := range samples(t, page) {
		for _, word := range []string{"alice", "bob", "nothing\"", second.Lease.ID, second.Lease.Username, second.Lease.AccessKeyID} {
			if strings.Contains(name, word) && !strings.Contains(name, `outcome="nothing"`) {
				t.Errorf("%s has a value that a requester chooses: %s", name, word)
			}
		}
	}
	for _, secret := range o.SecretKeys() {
		if leak.Contains([]byte(page), secret) {
			t.Error("a secret key is on the page")
		}
	}
}

// goVersion returns the version of Go on the page.
func goVersion(page string) string {
	_, after, _ := strings.Cut(page, `lessor_build_info{goversion="`)
	version, _, _ := strings.Cut(after, `"`)
	return version
}

// TestServeServesMetrics checks the metrics of a broker process.
func TestServeServesMetrics(t *testing.T) {
	t.Parallel()
	s := newProcesses(t)
	p, x := s.serve("--health", "127.0.0.1:0")
	lease := x.Reply(t, "request", "ci", "-i", "alice")
	x.OK(t, "revoke", lease.Lease.Name)
	page, status := clitest.Probe(fmt.Sprint(p.Logs("health")["address"]), "/metrics")
	have := samples(t, page)
	if status != http.StatusOK || have[`lessor_messages_total{outcome="revoked",verb="revoke"}`] != 1 || have[`lessor_aws_calls_total{action="CreateUser",outcome="ok"}`] != 1 || have["go_goroutines"] == 0 {
		t.Errorf("status %d\n%s", status, page)
	}
	s.pages = append(s.pages, page)
	events := x.OK(t, "events", "--no-follow", "--json")
	p.Stop()
	s.searchAll(s.store, events, lease.Lease.AccessKeyID)
}

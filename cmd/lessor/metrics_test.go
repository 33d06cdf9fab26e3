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

// metricsPage is the metrics page of a broker in the test's process.
type metricsPage struct {
	*deployment
	t       *testing.T
	address string
	page    string // as last read
}

// shows waits until the page has the values.
func (m *metricsPage) shows(want map[string]float64) {
	m.t.Helper()
	wrong := ""
	for end := time.Now().Add(clitest.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var status int
		if m.page, status = clitest.Probe(m.address, "/metrics"); status != http.StatusOK {
			m.t.Fatalf("status %d: %s", status, m.page)
		}
		have := samples(m.t, m.page)
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
	m.t.Fatalf("wrong for too long:\n%s\n%s", wrong, m.page)
}

// write writes a value to a bucket.
func (m *metricsPage) write(bucket, key, value string) {
	m.t.Helper()
	kv, err := m.jetStream().KeyValue(m.t.Context(), bucket)
	if err == nil {
		_, err = kv.PutString(m.t.Context(), key, value)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *metricsPage) jetStream() jetstream.JetStream {
	m.t.Helper()
	js, err := jetstream.New(m.Connect(m.t))
	if err != nil {
		m.t.Fatal(err)
	}
	return js
}

// TestMetricsCountEverything makes each thing happen that a metric counts.
func TestMetricsCountEverything(t *testing.T) {
	t.Parallel()
	metrics := broker.NewMetrics("v1.2.3")
	o := newDeployment(t, clitest.Options{OnCall: metrics.Called, Configure: func(c *consumer.Config) {
		c.Meter, c.MinTTL, c.Sweep.Grace, c.MaintainEvery = metrics, messages.Duration(time.Second), time.Nanosecond, time.Millisecond
		c.NoRespondersWait = 50 * time.Millisecond
	}})
	metrics.Watch(o.Broker.Scheduler.Counts)
	state := broker.NewReadiness()
	state.Up(o.Broker)
	stop, address, err := broker.ServeHealth("127.0.0.1:0", state, metrics.Handler())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	o.put(plain)
	m := &metricsPage{deployment: o, t: t, address: address}
	m.shows(map[string]float64{`lessor_leases{state="active"}`: 0, "lessor_failed_revocations": 0, "lessor_unreadable_records": 0, "lessor_held": 0,
		"lessor_orphans_held": 0, `lessor_orphans_total{outcome="removed"}`: 0})
	first, second := o.lease("ci"), o.lease("ci")
	m.countLeases(first)
	m.countFailedTeardown(first)
	m.countUnreadableAndOrphans()
	m.countFaults()

	problems, err := promlint.New(strings.NewReader(m.page)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for name := range samples(t, m.page) {
		for _, word := range []string{"alice", "bob", "nothing\"", second.Lease.ID, second.Lease.Username, second.Lease.AccessKeyID} {
			if strings.Contains(name, word) && !strings.Contains(name, `outcome="nothing"`) {
				t.Errorf("%s has a value that a requester chooses: %s", name, word)
			}
		}
	}
	for _, secret := range o.SecretKeys() {
		if leak.Contains([]byte(m.page), secret) {
			t.Error("a secret key is on the page")
		}
	}
}

// countLeases renews one lease, lets another expire, and requests one of a secret that does
// not exist.
func (m *metricsPage) countLeases(first messages.Reply) {
	m.t.Helper()
	m.OK(m.t, "renew", first.Lease.Name, "--ttl", "2h")
	m.OK(m.t, "request", "ci", "-i", "alice", "--ttl", "1s")
	if _, _, code := m.Run(m.t.Context(), "request", "nothing", "-i", "alice"); code != cli.ExitFailed {
		m.t.Error("a missing secret is leased")
	}
	m.shows(map[string]float64{
		`lessor_messages_total{outcome="issued",verb="request"}`:                    3,
		`lessor_messages_total{outcome="secret_not_found",verb="request"}`:          1,
		`lessor_messages_total{outcome="renewed",verb="renew"}`:                     1,
		`lessor_messages_total{outcome="revoked",verb="revoke"}`:                    1, // it expired
		`lessor_issue_duration_seconds_count`:                                       3,
		`lessor_revoke_duration_seconds_count`:                                      1,
		`lessor_expiry_lag_seconds_count`:                                           1,
		`lessor_aws_calls_total{action="CreateUser",outcome="ok"}`:                  3,
		`lessor_leases{state="active"}`:                                             2,
		`lessor_build_info{goversion="` + goVersion(m.page) + `",version="v1.2.3"}`: 1,
	})
}

// countFailedTeardown revokes a lease while AWS denies a call of the teardown.
func (m *metricsPage) countFailedTeardown(first messages.Reply) {
	m.t.Helper()
	m.Deny("DeleteUser")
	_, _, _ = m.Run(m.t.Context(), "revoke", first.Lease.Name)
	m.shows(map[string]float64{"lessor_failed_revocations": 1, "lessor_revocation_failures_total": 1, `lessor_leases{state="revoking"}`: 1,
		`lessor_aws_calls_total{action="DeleteUser",outcome="refused"}`: 1})
	m.allowAll(first)
	m.shows(map[string]float64{"lessor_failed_revocations": 0, `lessor_messages_total{outcome="revoked",verb="revoke"}`: 2, `lessor_leases{state="revoking"}`: 0})
}

// countUnreadableAndOrphans damages a record, and creates an orphan that is deleted and one
// that the restore guard protects.
func (m *metricsPage) countUnreadableAndOrphans() {
	m.t.Helper()
	m.write(messages.Namespace{}.LeaseBucket(), "alice.ci.damaged", "{")
	m.shows(map[string]float64{"lessor_unreadable_records": 1})
	addOrphan := func(name string) {
		m.Sim.AddUser(name, "/lessor/ci/", map[string]string{"lessor:installation": m.Broker.Installation(), "lessor:lease": "bob.ci." + name, "lessor:attempt": "1"})
	}
	addOrphan("lost")
	m.OK(m.t, "sweep")
	m.shows(map[string]float64{`lessor_orphans_total{outcome="removed"}`: 1, `lessor_orphans_total{outcome="failed"}`: 0})
	m.write(messages.Namespace{}.StateBucket(), "hold", `{"v":1,"since":"2026-11-22T22:00:00Z","sequence":1,"why":"a test"}`)
	addOrphan("newer")
	m.shows(map[string]float64{"lessor_held": 1})
	if text, status := clitest.Probe(m.address, "/readyz"); status != http.StatusOK || !strings.Contains(text, "held: a test") {
		m.t.Errorf("ready is %d, %s", status, text)
	}
	m.expect(cli.ExitFailed, "there are many", "", "sweep")
	m.shows(map[string]float64{"lessor_orphans_held": 1})
	m.expect(cli.ExitFailed, "1 users are orphaned", "is active", "restore")
	m.expect(cli.ExitFailed, `"held":true`, "", "restore", "--json")
	m.expect(cli.ExitOK, "the restore guard is lifted", "", "restore", "--apply")
	m.shows(map[string]float64{"lessor_held": 0, "lessor_orphans_held": 0, `lessor_orphans_total{outcome="removed"}`: 2})
	m.expect(cli.ExitOK, "the restore guard is not active", "", "restore", "--apply")
	m.expect(cli.ExitOK, "alice.ci.damaged  ", "", "list", "--failed")
	m.expect(cli.ExitOK, `"unreadable":[{"key":"alice.ci.damaged","revision":`, "", "list", "--failed", "--json")
}

// countFaults has AWS throttle a call and drop the answer of another, delivers to a
// requester that does not exist, and has a message redelivered.
func (m *metricsPage) countFaults() {
	m.t.Helper()
	var throttled, dropped atomic.Bool
	m.Sim.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		switch {
		case c.Action == "CreateUser" && throttled.CompareAndSwap(false, true):
			return iamsim.Verdict{Do: iamsim.Fail, Status: 400, Code: "Throttling"}
		case c.Action == "DeleteAccessKey" && dropped.CompareAndSwap(false, true):
			return iamsim.Verdict{Do: iamsim.DropBefore}
		}
		return iamsim.Verdict{}
	})
	js := m.jetStream()
	msg := nats.NewMsg(messages.Namespace{}.Request("alice", "ci"))
	msg.Header.Set(messages.HeaderReplyTo, "_INBOX.none")
	if _, err := js.PublishMsg(m.t.Context(), msg); err != nil {
		m.t.Fatal(err)
	}
	m.shows(map[string]float64{"lessor_undelivered_total": 1, `lessor_messages_total{outcome="undelivered",verb="request"}`: 1,
		`lessor_aws_calls_total{action="CreateUser",outcome="throttled"}`: 1, `lessor_aws_calls_total{action="DeleteAccessKey",outcome="unanswered"}`: 1})
	if _, err := js.Publish(m.t.Context(), "lessor.revoke.alice.ci.damaged", nil); err != nil {
		m.t.Fatal(err)
	}
	clitest.Eventually(m.t, "a message is redelivered", func() bool {
		m.page, _ = clitest.Probe(m.address, "/metrics")
		return samples(m.t, m.page)[`lessor_redeliveries_total{verb="revoke"}`] > 1
	})
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

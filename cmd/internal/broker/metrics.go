package broker

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lessorhq/lessor/consumer"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam"
	"github.com/lessorhq/lessor/scheduler"
)

// Metrics is the Prometheus metrics of a broker. No label has a value that a requester
// chooses. It is the consumer's [consumer.Meter].
type Metrics struct {
	registry *prometheus.Registry
	leases   atomic.Pointer[func() scheduler.Counts] // nil until Watch

	messages     *prometheus.CounterVec
	redeliveries *prometheus.CounterVec
	calls        *prometheus.CounterVec
	orphans      *prometheus.CounterVec
	undelivered  prometheus.Counter
	retries      prometheus.Counter
	issue        prometheus.Histogram
	revoke       prometheus.Histogram
	late         prometheus.Histogram
	orphansHeld  prometheus.Gauge
	held         prometheus.Gauge
}

var _ consumer.Meter = (*Metrics)(nil)

// NewMetrics returns metrics in a registry of their own. version is the program's version.
func NewMetrics(version string) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		messages: prometheus.NewCounterVec(counter("lessor_messages_total",
			"Messages handled, and API requests refused, by verb and outcome."), []string{"verb", "outcome"}),
		redeliveries: prometheus.NewCounterVec(counter("lessor_redeliveries_total", "Messages that were redelivered."), []string{"verb"}),
		calls:        prometheus.NewCounterVec(counter("lessor_aws_calls_total", "Attempts of calls to AWS."), []string{"action", "outcome"}),
		orphans:      prometheus.NewCounterVec(counter("lessor_orphans_total", "Orphaned IAM users that a sweep removed or failed to remove."), []string{"outcome"}),
		undelivered:  prometheus.NewCounter(counter("lessor_undelivered_total", "Leases whose credentials could not be delivered.")),
		retries:      prometheus.NewCounter(counter("lessor_revocation_failures_total", "Teardowns of leases that failed and are retried.")),
		issue: histogram("lessor_issue_duration_seconds", "Time from the storage of a request to the delivery.",
			0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
		revoke: histogram("lessor_revoke_duration_seconds", "Time from the storage of a revocation to the end of access.",
			0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
		late: histogram("lessor_expiry_lag_seconds", "Time from the end of an expired lease to the end of access.",
			0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
		orphansHeld: gauge("lessor_orphans_held", "Orphaned IAM users that wait for an operator's consent."),
		held:        gauge("lessor_held", "1 while the restore guard is active."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lessor_build_info", Help: "1, with the versions of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.messages, m.redeliveries, m.calls, m.orphans, m.undelivered, m.retries, m.issue, m.revoke, m.late,
		m.orphansHeld, m.held, build, leaseCollector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, o := range []string{"removed", "failed"} {
		m.orphans.WithLabelValues(o) // rates need the series from the start
	}
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Watch sets the source of the numbers of leases.
func (m *Metrics) Watch(counts func() scheduler.Counts) { m.leases.Store(&counts) }

// Called counts an attempt of a call to AWS.
func (m *Metrics) Called(action string, result awsiam.CallResult) {
	m.calls.WithLabelValues(action, string(result)).Inc()
}

// Handled is described at [consumer.Meter], as are the methods below.
func (m *Metrics) Handled(verb messages.Verb, outcome string, took time.Duration) {
	m.messages.WithLabelValues(string(verb), outcome).Inc()
	switch outcome {
	case consumer.OutcomeIssued:
		m.issue.Observe(took.Seconds())
	case consumer.OutcomeRevoked:
		m.revoke.Observe(took.Seconds())
	}
}

func (m *Metrics) Redelivered(verb messages.Verb) { m.redeliveries.WithLabelValues(string(verb)).Inc() }

func (m *Metrics) Undelivered() { m.undelivered.Inc() }

func (m *Metrics) RevocationFailed() { m.retries.Inc() }

func (m *Metrics) Expired(late time.Duration) { m.late.Observe(late.Seconds()) }

func (m *Metrics) OrphansHeld(users int) { m.orphansHeld.Set(float64(users)) }

// OrphanSwept counts an orphan.
func (m *Metrics) OrphanSwept(removed bool) {
	outcome := "failed"
	if removed {
		outcome = "removed"
	}
	m.orphans.WithLabelValues(outcome).Inc()
}

// Held sets whether the restore guard is active.
func (m *Metrics) Held(held bool) {
	n := 0.0
	if held {
		n = 1
	}
	m.held.Set(n)
}

// leaseCollector reads the scheduler's counts when the metrics are collected.
type leaseCollector struct{ m *Metrics }

var (
	leasesDesc     = prometheus.NewDesc("lessor_leases", "Live leases, by state.", []string{"state"}, nil)
	failingDesc    = prometheus.NewDesc("lessor_failed_revocations", "Leases whose last teardown failed.", nil, nil)
	unreadableDesc = prometheus.NewDesc("lessor_unreadable_records", "Records in the lease bucket that can't be read.", nil, nil)
)

// Describe is described at [prometheus.Collector].
func (l leaseCollector) Describe(to chan<- *prometheus.Desc) {
	to <- leasesDesc
	to <- failingDesc
	to <- unreadableDesc
}

// Collect is described at [prometheus.Collector].
func (l leaseCollector) Collect(to chan<- prometheus.Metric) {
	counts := l.m.leases.Load()
	if counts == nil {
		return
	}
	n := (*counts)()
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(leasesDesc, n.Provisioning, string(messages.StateProvisioning))
	gauge(leasesDesc, n.Active, string(messages.StateActive))
	gauge(leasesDesc, n.Revoking, string(messages.StateRevoking))
	gauge(failingDesc, n.Failing)
	gauge(unreadableDesc, n.Unreadable)
}

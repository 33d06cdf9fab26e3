// Package measure is the parts of the benchmark, and how they are run.
package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// Run runs the parts and prints the report. It returns an error if a part fails, or if
// bounds are to be checked and one of them is not met.
func Run(ctx context.Context, env *cli.Environment, s *Settings) error {
	if s.ProfileFolder != "" {
		if err := os.MkdirAll(s.ProfileFolder, 0o700); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	if s.ChartFolder != "" {
		if err := os.MkdirAll(s.ChartFolder, 0o755); err != nil { // #nosec G301 -- the charts have no secrets
			return fmt.Errorf("--svg: %w", err)
		}
	}
	b := &bench{Settings: s, env: env, progress: env.Progress(), report: newReport(s)}
	err := b.runParts(ctx)
	b.progress.Clear()
	if ctx.Err() != nil {
		return errors.New("the benchmark was interrupted")
	}
	if err != nil {
		return err
	}
	if err := b.report.Print(env.Stdout, s.JSON); err != nil {
		return err
	}
	if s.CheckBounds {
		return b.report.Err()
	}
	return nil
}

// bench is one run of the benchmark.
type bench struct {
	*Settings
	env      *cli.Environment
	progress *cli.Progress
	report   *report.Report
	part     string // the name of the part that is running
}

func (b *bench) runParts(ctx context.Context) error {
	begin := time.Now()
	for _, p := range parts {
		if !slices.Contains(b.Only, p.name) {
			continue
		}
		if err := b.runPart(ctx, p); err != nil {
			return fmt.Errorf("the part %s of the benchmark: %w", p.name, err)
		}
	}
	b.report.Finish(time.Since(begin))
	return nil
}

func (b *bench) runPart(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	b.part = p.name
	b.show("starting")
	runtime.GC() // collects what the part before has left
	stopProfile, err := b.startProfile(p.name)
	if err != nil {
		return err
	}
	begin, used := time.Now(), timing.CPUTime()
	err = p.run(b, ctx)
	took, busy := time.Since(begin), timing.CPUTime()-used
	if err := stopProfile(); err != nil {
		return err
	}
	if err == nil && used >= 0 {
		b.add(report.Figure{Name: "cpu", What: "CPUs that this process used", Value: busy.Seconds() / took.Seconds(), Unit: "CPUs"}.
			WithFloor(float64(runtime.NumCPU()), "CPUs of this machine"))
	}
	return err
}

// show shows how far the part is.
func (b *bench) show(format string, args ...any) {
	b.progress.Show("%s: %s", b.part, fmt.Sprintf(format, args...))
}

// world starts what a part measures.
func (b *bench) world(ctx context.Context, c world.Config) (*world.World, error) {
	c.Timeout, c.Durable, c.Endpoint, c.Rate = b.Timeout, b.Durable, b.IAMEndpoint, b.Rate
	if b.remote() {
		ns, err := b.Namespace()
		if err != nil {
			return nil, err
		}
		nc, err := b.Dial(b.env, "lessor bench")
		if err != nil {
			return nil, err
		}
		c.Remote = &world.Remote{Conn: nc, NS: ns, Identity: b.Identity, Secret: b.Secret, Soft: b.SoftSecret}
	}
	w, err := world.Start(ctx, c)
	if err == nil {
		if durable, known := w.Durable(); known {
			b.report.Durable = durable
		}
	}
	return w, err
}

// fill writes the records of n live leases.
func (b *bench) fill(ctx context.Context, w *world.World, n int, expires time.Time) error {
	return w.Fill(ctx, n, expires, func(written int) { b.show("writing %d of %d leases", written, n) })
}

// add adds figures of the part that is running to the report.
func (b *bench) add(figures ...report.Figure) {
	for _, f := range figures {
		f.Part = b.part
		b.report.Figures = append(b.report.Figures, f)
	}
}

func newReport(s *Settings) *report.Report {
	r := &report.Report{
		Version: cli.Version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Where: report.Embedded, Durable: s.Durable, Latency: s.Latency.String(), Rate: s.Rate, Requesters: s.Requesters,
	}
	if s.remote() {
		r.Where = report.Elsewhere
	}
	return r
}

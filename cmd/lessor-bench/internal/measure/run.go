package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// Run measures, and prints what came of it.
func Run(ctx context.Context, env *cli.Environment, b *Settings) error {
	if b.Profiles != "" {
		if err := os.MkdirAll(b.Profiles, 0o700); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	if b.Pictures != "" {
		if err := os.MkdirAll(b.Pictures, 0o755); err != nil { // #nosec G301 -- pictures are for everybody to see
			return fmt.Errorf("--svg: %w", err)
		}
	}
	m := &bench{Settings: b, env: env, progress: env.Progress(), report: newReport(b)}
	err := m.measure(ctx)
	m.progress.Clear()
	if ctx.Err() != nil {
		return errors.New("the bench was interrupted")
	}
	if err != nil {
		return err
	}
	if err := m.report.Print(env.Stdout, b.JSON); err != nil {
		return err
	}
	if b.Check {
		return m.report.Err()
	}
	return nil
}

// bench is one run.
type bench struct {
	*Settings
	env      *cli.Environment
	progress *cli.Progress
	report   *report.Report
	part     string // that runs
}

// measure runs the parts.
func (b *bench) measure(ctx context.Context) error {
	begun := time.Now()
	for _, p := range parts {
		if !slices.Contains(b.Only, p.name) {
			continue
		}
		if err := b.measurePart(ctx, p); err != nil {
			return fmt.Errorf("the part %s of the bench: %w", p.name, err)
		}
	}
	b.report.Finish(time.Since(begun))
	return nil
}

func (b *bench) measurePart(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	b.part = p.name
	b.tell("starting")
	runtime.GC() // of the part before
	stop, err := b.profile(p.name)
	if err != nil {
		return err
	}
	begun, used := time.Now(), timing.CPUTime()
	err = p.run(b, ctx)
	took, busy := time.Since(begun), timing.CPUTime()-used
	if err := stop(); err != nil {
		return err
	}
	if err == nil && used >= 0 {
		b.add(report.Figure{Name: "cpu", What: "CPUs that this process kept busy", Value: busy.Seconds() / took.Seconds(), Unit: "CPUs"}.
			WithFloor(float64(runtime.NumCPU()), "there are"))
	}
	return err
}

// profile begins a CPU profile of a part; what it returns ends that, and writes down
// what has been allocated so far.
func (b *bench) profile(part string) (stop func() error, err error) {
	if b.Profiles == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(b.Profiles, part+".cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		_ = cpu.Close() // there is nothing in it
		return nil, fmt.Errorf("--profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := cpu.Close(); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
		allocs, err := os.Create(filepath.Join(b.Profiles, part+".allocs.pprof"))
		if err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
		err = pprof.Lookup("allocs").WriteTo(allocs, 0)
		if closing := allocs.Close(); err == nil {
			err = closing
		}
		return err
	}, nil
}

// tell shows a person how far it is.
func (b *bench) tell(format string, args ...any) {
	b.progress.Show("%s: %s", b.part, fmt.Sprintf(format, args...))
}

// world starts what a part measures.
func (b *bench) world(ctx context.Context, n world.Config) (*world.World, error) {
	n.Timeout, n.Durable, n.Endpoint, n.Rate = b.Timeout, b.Durable, b.IAMEndpoint, b.Rate
	if b.remote() {
		ns, err := b.Namespace()
		if err != nil {
			return nil, err
		}
		nc, err := b.Dial(b.env, "lessor bench")
		if err != nil {
			return nil, err
		}
		n.Remote = &world.Remote{Conn: nc, NS: ns, Identity: b.Identity, Secret: b.Secret, Soft: b.Soft}
	}
	w, err := world.Start(ctx, n)
	if err == nil {
		if durable, known := w.Durable(); known {
			b.report.Durable = durable
		}
	}
	return w, err
}

// fill writes the records of many live leases.
func (b *bench) fill(ctx context.Context, w *world.World, n int, expires time.Time) error {
	return w.Fill(ctx, n, expires, func(written int) { b.tell("writing %d of %d leases", written, n) })
}

// add notes figures of the part that runs.
func (b *bench) add(figures ...report.Figure) {
	for _, f := range figures {
		f.Part = b.part
		b.report.Figures = append(b.report.Figures, f)
	}
}

func newReport(b *Settings) *report.Report {
	r := &report.Report{
		Version: cli.Version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
		Where: "embedded", Durable: b.Durable, Latency: b.Latency.String(), Rate: b.Rate, Requesters: b.Requesters,
	}
	if b.remote() {
		r.Where = "elsewhere"
	}
	return r
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	*benchCmd
	env      *environment
	progress *progress
	report   *benchReport
	part     string // that runs
}

// benchPart measures something in a world of its own.
type benchPart struct {
	name, what string
	alone      bool // it needs a NATS server and an AWS account to itself
	extra      bool // it runs only where it is named
	limit      time.Duration
	run        func(*bench, context.Context) error
}

// benchParts are all, in the order in which they run.
var benchParts = []benchPart{
	{"latency", "one lease after another: time, calls and round trips; expiry", false, false, 5 * time.Minute, (*bench).measureLatency},
	{"throughput", "many leases at once, with an AWS that takes no time", false, false, 30 * time.Minute, (*bench).measureThroughput},
	{"renewals", "many renewals at once, without hard expiry", false, false, 30 * time.Minute, (*bench).measureRenewals},
	{"requesters", "many requesters, with an AWS that takes its time", false, false, 30 * time.Minute, (*bench).measureRequesters},
	{"restore", "a broker starts and finds many live leases", true, false, 10 * time.Minute, (*bench).measureRestore},
	{"due", "many leases fall due in the same second", true, false, 10 * time.Minute, (*bench).measureDue},
	{"replicas", "several brokers on a cluster, and one", true, false, 30 * time.Minute, (*bench).measureReplicas},
	{partDay, "a day of leases that last an hour, by a clock that is moved", true, true, 12 * time.Hour, (*bench).measureDay},
	{partGrowth, "what restore does, with each of --sizes", true, true, 2 * time.Hour, (*bench).measureGrowth},
}

func benchPartsHelp() string {
	var b strings.Builder
	for _, p := range benchParts {
		fmt.Fprintf(&b, "  %-11s %s", p.name, p.what)
		if p.extra {
			b.WriteString("; runs where --only names it")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// measure runs the parts.
func (b *bench) measure(ctx context.Context) error {
	begun := time.Now()
	for _, p := range benchParts {
		if !slices.Contains(b.only, p.name) {
			continue
		}
		if err := b.measurePart(ctx, p); err != nil {
			return fmt.Errorf("the part %s of the bench: %w", p.name, err)
		}
	}
	b.report.end(time.Since(begun))
	return nil
}

func (b *bench) measurePart(ctx context.Context, p benchPart) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	b.part = p.name
	b.tell("starting")
	runtime.GC() // of the part before
	stop, err := b.profile(p.name)
	if err != nil {
		return err
	}
	begun, used := time.Now(), cpuTime()
	err = p.run(b, ctx)
	took, busy := time.Since(begun), cpuTime()-used
	if err := stop(); err != nil {
		return err
	}
	if err == nil && used >= 0 {
		b.add(benchFigure{Name: "cpu", What: "CPUs that this process kept busy", Value: busy.Seconds() / took.Seconds(), Unit: "CPUs"}.
			beside(float64(runtime.NumCPU()), "there are"))
	}
	return err
}

// profile begins a CPU profile of a part; what it returns ends that, and writes down
// what has been allocated so far.
func (b *bench) profile(part string) (stop func() error, err error) {
	if b.profiles == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(b.profiles, part+".cpu.pprof"))
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
		allocs, err := os.Create(filepath.Join(b.profiles, part+".allocs.pprof"))
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
	b.progress.show("%s: %s", b.part, fmt.Sprintf(format, args...))
}

// add notes figures of the part that runs.
func (b *bench) add(figures ...benchFigure) {
	for _, f := range figures {
		f.Part = b.part
		b.report.Figures = append(b.report.Figures, f)
	}
}

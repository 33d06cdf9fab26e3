package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// partGrowth is the name of the part that measures how a broker's start grows.
const partGrowth = "growth"

// maxSize is the most live leases that the part growth tries.
const maxSize = 5_000_000

// checkGrowth looks at the flags of the part growth.
func (b *benchCmd) checkGrowth() error {
	if !slices.Contains(b.only, partGrowth) {
		switch {
		case b.pictures != "":
			return usagef("--svg is for the part growth, which does not run by itself; add --only growth")
		case b.sized:
			return usagef("--sizes is for the part growth, which does not run by itself; add --only growth")
		}
		return nil
	}
	for i, size := range b.sizes {
		switch {
		case size < 1 || size > maxSize:
			return usagef("--sizes has %d; each may be 1 to %d", size, maxSize)
		case i > 0 && size <= b.sizes[i-1]:
			return usagef("--sizes has %d after %d; each must be more than the one before", size, b.sizes[i-1])
		}
	}
	return nil
}

// measureGrowth has brokers start that find more and more leases.
func (b *bench) measureGrowth(ctx context.Context) error {
	var all []benchRestored
	for _, size := range b.sizes {
		r, err := b.restore(ctx, size)
		if err != nil {
			return fmt.Errorf("with %d leases: %w", size, err)
		}
		for _, f := range r.figures() {
			f.Leases = size
			b.add(f)
		}
		all = append(all, r)
	}
	if b.pictures == "" {
		return nil
	}
	for name, chart := range growthCharts(all, b.report.machine()) {
		if err := os.WriteFile(filepath.Join(b.pictures, name), []byte(chart.svg()), 0o644); err != nil { // #nosec G306 -- pictures are for everybody to see
			return fmt.Errorf("--svg: %w", err)
		}
	}
	return nil
}

// growthCharts are the pictures of the part growth, by the names of their files.
func growthCharts(all []benchRestored, note string) map[string]svgChart {
	curve := func(name string, of func(benchRestored) float64) svgSeries {
		s := svgSeries{name: name}
		for _, r := range all {
			s.points = append(s.points, svgPoint{float64(r.leases), of(r)})
		}
		return s
	}
	seconds := func(of func(benchRestored) time.Duration) func(benchRestored) float64 {
		return func(r benchRestored) float64 { return of(r).Seconds() }
	}
	return map[string]svgChart{
		"growth-restore.svg": {
			title: "A broker starts: seconds until it knows all live leases", note: note, x: "live leases", y: "seconds", logarithmic: true,
			series: []svgSeries{
				curve("broker", seconds(func(r benchRestored) time.Duration { return r.loaded.took })),
				curve("floor: reading the bucket, no broker", seconds(func(r benchRestored) time.Duration { return r.floor.took })),
			},
		},
		"growth-memory.svg": {
			title: "Memory of a broker, for each live lease", note: note, x: "live leases", y: "bytes a lease",
			series: []svgSeries{
				curve("once all are known", func(r benchRestored) float64 { return r.memory }),
				curve("at most, while they are loaded", func(r benchRestored) float64 { return r.peak }),
			},
		},
		"growth-due.svg": {
			title: "A broker starts: seconds until a lease is revoked that fell due before", note: note, x: "live leases", y: "seconds",
			series: []svgSeries{
				curve("broker", seconds(func(r benchRestored) time.Duration { return r.missed })),
			},
		},
	}
}

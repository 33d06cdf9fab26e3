package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/svg"
)

// partGrowth is the name of the part that starts brokers with more and more leases.
const partGrowth = "growth"

// maxSize is the largest number that --sizes accepts.
const maxSize = 5_000_000

// checkGrowth checks the flags of the part growth.
func (s *Settings) checkGrowth() error {
	if !slices.Contains(s.Only, partGrowth) {
		switch {
		case s.ChartFolder != "":
			return cli.Usagef("--svg is for the part growth, which does not run by default; add --only growth")
		case s.SizesGiven:
			return cli.Usagef("--sizes is for the part growth, which does not run by default; add --only growth")
		}
		return nil
	}
	for i, size := range s.Sizes {
		switch {
		case size < 1 || size > maxSize:
			return cli.Usagef("--sizes has %d; each may be 1 to %d", size, maxSize)
		case i > 0 && size <= s.Sizes[i-1]:
			return cli.Usagef("--sizes has %d after %d; each must be more than the one before", size, s.Sizes[i-1])
		}
	}
	return nil
}

// measureGrowth measures the start of a broker with each number of leases in --sizes, and
// draws the charts.
func (b *bench) measureGrowth(ctx context.Context) error {
	var all []restored
	for _, size := range b.Sizes {
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
	if b.ChartFolder == "" {
		return nil
	}
	for name, chart := range growthCharts(all, b.report.Machine()) {
		if err := os.WriteFile(filepath.Join(b.ChartFolder, name), []byte(chart.SVG()), 0o644); err != nil { // #nosec G306 -- the charts have no secrets
			return fmt.Errorf("--svg: %w", err)
		}
	}
	return nil
}

// growthCharts returns the charts of the part growth, by file name. The note is printed
// below each.
func growthCharts(all []restored, note string) map[string]svg.Chart {
	curve := func(name string, value func(restored) float64) svg.Series {
		s := svg.Series{Name: name}
		for _, r := range all {
			s.Points = append(s.Points, svg.Point{X: float64(r.leases), Y: value(r)})
		}
		return s
	}
	seconds := func(value func(restored) time.Duration) func(restored) float64 {
		return func(r restored) float64 { return value(r).Seconds() }
	}
	return map[string]svg.Chart{
		"growth-restore.svg": {
			Title: "Start of a broker: seconds until all live leases are loaded", Note: note, X: "live leases", Y: "seconds", Logarithmic: true,
			Series: []svg.Series{
				curve("broker", seconds(func(r restored) time.Duration { return r.loaded.Took })),
				curve("floor: reading the bucket, no broker", seconds(func(r restored) time.Duration { return r.floor.Took })),
			},
		},
		"growth-memory.svg": {
			Title: "Memory of a broker for each live lease", Note: note, X: "live leases", Y: "bytes a lease",
			Series: []svg.Series{
				curve("when all are loaded", func(r restored) float64 { return r.memory }),
				curve("at most, during the load", func(r restored) float64 { return r.peak }),
			},
		},
		"growth-due.svg": {
			Title: "Start of a broker: seconds until an overdue lease is revoked", Note: note, X: "live leases", Y: "seconds",
			Series: []svg.Series{
				curve("broker", seconds(func(r restored) time.Duration { return r.overdue })),
			},
		},
	}
}

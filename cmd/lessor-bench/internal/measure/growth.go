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

// partGrowth is the name of the part that measures how a broker's start grows.
const partGrowth = "growth"

// maxSize is the most live leases that the part growth tries.
const maxSize = 5_000_000

// checkGrowth looks at the flags of the part growth.
func (b *Settings) checkGrowth() error {
	if !slices.Contains(b.Only, partGrowth) {
		switch {
		case b.Pictures != "":
			return cli.Usagef("--svg is for the part growth, which does not run by itself; add --only growth")
		case b.Sized:
			return cli.Usagef("--sizes is for the part growth, which does not run by itself; add --only growth")
		}
		return nil
	}
	for i, size := range b.Sizes {
		switch {
		case size < 1 || size > maxSize:
			return cli.Usagef("--sizes has %d; each may be 1 to %d", size, maxSize)
		case i > 0 && size <= b.Sizes[i-1]:
			return cli.Usagef("--sizes has %d after %d; each must be more than the one before", size, b.Sizes[i-1])
		}
	}
	return nil
}

// measureGrowth has brokers start that find more and more leases.
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
	if b.Pictures == "" {
		return nil
	}
	for name, chart := range growthCharts(all, b.report.Machine()) {
		if err := os.WriteFile(filepath.Join(b.Pictures, name), []byte(chart.SVG()), 0o644); err != nil { // #nosec G306 -- pictures are for everybody to see
			return fmt.Errorf("--svg: %w", err)
		}
	}
	return nil
}

// growthCharts are the pictures of the part growth, by the names of their files.
func growthCharts(all []restored, note string) map[string]svg.Chart {
	curve := func(name string, of func(restored) float64) svg.Series {
		s := svg.Series{Name: name}
		for _, r := range all {
			s.Points = append(s.Points, svg.Point{X: float64(r.leases), Y: of(r)})
		}
		return s
	}
	seconds := func(of func(restored) time.Duration) func(restored) float64 {
		return func(r restored) float64 { return of(r).Seconds() }
	}
	return map[string]svg.Chart{
		"growth-restore.svg": {
			Title: "A broker starts: seconds until it knows all live leases", Note: note, X: "live leases", Y: "seconds", Logarithmic: true,
			Series: []svg.Series{
				curve("broker", seconds(func(r restored) time.Duration { return r.loaded.Took })),
				curve("floor: reading the bucket, no broker", seconds(func(r restored) time.Duration { return r.floor.Took })),
			},
		},
		"growth-memory.svg": {
			Title: "Memory of a broker, for each live lease", Note: note, X: "live leases", Y: "bytes a lease",
			Series: []svg.Series{
				curve("once all are known", func(r restored) float64 { return r.memory }),
				curve("at most, while they are loaded", func(r restored) float64 { return r.peak }),
			},
		},
		"growth-due.svg": {
			Title: "A broker starts: seconds until a lease is revoked that fell due before", Note: note, X: "live leases", Y: "seconds",
			Series: []svg.Series{
				curve("broker", seconds(func(r restored) time.Duration { return r.missed })),
			},
		},
	}
}

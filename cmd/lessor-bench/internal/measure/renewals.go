package measure

import (
	"context"

	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/report"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/timing"
	"github.com/lessorhq/lessor/cmd/lessor-bench/internal/world"
)

// minRenewals is the bound of renewals a second without hard expiry, if writes are not
// flushed.
const minRenewals = 5000

// renewalsPerLease is how many renewals there are for each lease of --leases.
const renewalsPerLease = 8

// measureRenewals measures renewals without hard expiry, which make no call to AWS.
func (b *bench) measureRenewals(ctx context.Context) error {
	w, err := b.world(ctx, world.Config{Leases: b.Requesters})
	if err != nil {
		return err
	}
	defer w.Close()
	if w.Soft == "" {
		return nil
	}
	leases, _, err := w.IssueMany(ctx, 0, b.Requesters, b.Requesters, w.Soft, "{}")
	if err != nil {
		return err
	}
	if err := w.Quiet(ctx); err != nil {
		return err
	}
	r, writes, err := b.renewMany(ctx, w, leases)
	if err != nil {
		return err
	}
	if _, err := w.RevokeMany(ctx, leases, b.Requesters); err != nil {
		return err
	}
	return b.addRenewalFigures(ctx, w, r, writes)
}

func (b *bench) addRenewalFigures(ctx context.Context, w *world.World, r timing.Run, writes world.Writes) error {
	f := report.Figure{Name: "renew", What: "renewals", Value: r.Rate(), Unit: "/s"}
	if !w.Remote {
		floor, err := w.BareWrites(ctx, b.Within, writes, len(r.Each), b.Requesters)
		if err != nil {
			return err
		}
		f = f.WithFloor(floor.Rate(), writesFloor).WithBound(report.AtLeast(minRenewals).If(!b.Durable))
		b.add(writesFigure(writes, "renew_writes", "writes to renew a lease"), cpuFigure(r, "renew", "renewal", floor, writesFloor))
	}
	b.add(f)
	b.add(timeFigures(r, "renew", "renewal", nil, report.Bound{})...)
	return nil
}

// renewMany renews the leases at the same time, each many times in a row.
func (b *bench) renewMany(ctx context.Context, w *world.World, leases []string) (all timing.Run, writes world.Writes, err error) {
	each := max(1, b.Leases*renewalsPerLease/len(leases))
	var before []world.Stream
	if !w.Remote {
		if before, err = w.Streams(ctx); err != nil {
			return all, nil, err
		}
	}
	b.show("%d renewals", each*len(leases))
	runs := make([]timing.Run, len(leases))
	whole, err := timing.Repeat(ctx, len(runs), len(runs), func(ctx context.Context, i int) (err error) {
		runs[i], err = timing.RepeatWithin(ctx, rounds*b.Within, each, 1, func(ctx context.Context, _ int) error { return w.Renew(ctx, leases[i]) })
		return err
	})
	if err != nil {
		return all, nil, err
	}
	for _, r := range runs {
		all = all.Join(r)
	}
	all.Took, all.CPU = whole.Took, whole.CPU
	if w.Remote {
		return all, nil, nil
	}
	after, err := w.Streams(ctx)
	if err != nil {
		return all, nil, err
	}
	return all, world.WritesBetween(before, after, len(all.Each)), nil
}

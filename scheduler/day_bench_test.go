package scheduler

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages/record"
)

// dayLeases is how many leases BenchmarkDay has.
const dayLeases = 10_000_000

// BenchmarkDay has ten million leases begin, be renewed and end in a day of simulated
// time. Each lives for an hour, and every other is renewed once, so that about half a
// million are alive at a time. It reports what CPU time a lease takes in an early hour
// of the day and in the last, in the index and its tick.
func BenchmarkDay(b *testing.B) {
	for b.Loop() {
		d := &day{x: newIndex(), now: noon, renew: map[int64][]string{}}
		before := heapInUse()
		var hours []time.Duration
		for range 24 {
			hours = append(hours, d.hour(dayLeases/24))
		}
		d.renew = nil // a broker does not have it
		used := heapInUse() - before
		perLease := func(hour int) float64 { return float64(hours[hour].Nanoseconds()) / (dayLeases / 24) }
		for hour := range hours {
			b.Logf("hour %2d: %5.0f ns of CPU a lease", hour, perLease(hour))
		}
		b.Logf("%d leases ended, %d are alive, at most %d were", d.ended, d.x.scheduled(), d.most)
		b.ReportMetric(perLease(2), "ns/lease_hour_2")
		b.ReportMetric(perLease(23), "ns/lease_hour_23")
		b.ReportMetric(float64(used)/float64(d.most), "B/live_lease")
		runtime.KeepAlive(d)
	}
}

// day drives an index as a broker's watch and tick do.
type day struct {
	x        *index
	now      time.Time
	revision uint64
	lease    uint64
	ended    int
	most     int
	renew    map[int64][]string // by the second in which they are renewed
}

func (d *day) put(lease string, due time.Time, c class) {
	d.revision++
	d.x.set(lease, due, c, d.revision)
}

// hour has that many leases begin, second by second, and returns the CPU time of the
// index.
func (d *day) hour(leases int) (took time.Duration) {
	for second := range 3600 {
		names := make([]string, 0, leases/3600+1)
		for range leases*(second+1)/3600 - leases*second/3600 {
			d.lease++
			identity := fmt.Sprintf("team-%03d", d.lease%1000)
			names = append(names, identity+".ci."+record.LeaseID(identity, "ci", "", d.lease, noon))
		}
		renewed := d.renew[d.now.Unix()]
		delete(d.renew, d.now.Unix())
		begun := CPUTime()
		d.second(names, renewed)
		took += CPUTime() - begun
		d.most = max(d.most, d.x.scheduled())
		for i, name := range names {
			if i%2 == 0 {
				at := d.now.Add(30 * time.Minute).Unix()
				d.renew[at] = append(d.renew[at], name)
			}
		}
		d.now = d.now.Add(time.Second)
	}
	return took
}

// second is what happens to the index in a second.
func (d *day) second(names, renewed []string) {
	for _, name := range names {
		d.put(name, d.now.Add(30*time.Second), provisioning)
		d.put(name, d.now.Add(time.Hour), active)
	}
	for _, name := range renewed {
		d.put(name, d.now.Add(time.Hour), active)
	}
	for _, r := range d.x.take(d.now, maxTake, func(int) time.Duration { return time.Minute }) {
		d.put(r.lease, d.now.Add(30*time.Second), revoking)
		d.x.remove(r.lease)
		d.ended++
	}
}

package record_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// Brokers of different versions must compute the same id for a request.
func TestLeaseIDsAreStable(t *testing.T) {
	for _, c := range []struct {
		identity, secret, key string
		sequence              uint64
		stored                time.Time
		want                  string
	}{
		{"alice", "ci", "build-17", 0, time.Time{}, "8w08srtm9wjpdj2ek8vz7e1zx0"},
		{"alice", "ci", "", 17, noon, "ypc17bwepjbka0y6mvra1semer"},
		{"alice", "ci", `<a href="x">&</a>`, 0, time.Time{}, "7hm5ad3hwnzff05s6f1h64jrkg"},
		{"alice", "ci", "", 1<<64 - 1, noon.Add(time.Nanosecond), "9rwh5csasej720hazvakdd4cm4"},
	} {
		if got := record.LeaseID(c.identity, c.secret, c.key, c.sequence, c.stored); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestLeaseIDWithAKeyIgnoresSequenceAndTime(t *testing.T) {
	want := record.LeaseID("alice", "ci", "k", 1, noon)
	if got := record.LeaseID("alice", "ci", "k", 2, noon.Add(time.Hour)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLeaseIDWithoutAKeyDependsOnSequenceAndTime(t *testing.T) {
	base := record.LeaseID("alice", "ci", "", 1, noon)
	if got := record.LeaseID("alice", "ci", "", 1, noon.In(time.FixedZone("east", 3600))); got != base {
		t.Errorf("the id depends on the time zone: %s and %s", got, base)
	}
	for name, got := range map[string]string{
		"sequence":                record.LeaseID("alice", "ci", "", 2, noon),
		"time, of a new stream":   record.LeaseID("alice", "ci", "", 1, noon.Add(1)),
		"a key like the sequence": record.LeaseID("alice", "ci", "1", 1, noon),
	} {
		if got == base {
			t.Errorf("the id does not depend on: %s", name)
		}
	}
}

// Moving a character from one part to the next must change the id. Otherwise one
// identity could claim the lease of another.
func TestLeaseIDsDifferWhenAnyPartDiffers(t *testing.T) {
	text := rapid.StringMatching(`[a-c",\\\[\]<>& .:]{0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		draw := func(which string) [3]string {
			return [3]string{text.Draw(t, which+" identity"), text.Draw(t, which+" secret"), text.Draw(t, which+" key")}
		}
		sequence := rapid.Uint64Range(0, 3).Draw(t, "sequence")
		a, b := draw("a"), draw("b")
		id := func(p [3]string) string { return record.LeaseID(p[0], p[1], p[2], sequence, noon) }
		if (id(a) == id(b)) != (a == b) {
			t.Fatalf("%q is %s, %q is %s", a, id(a), b, id(b))
		}
		if err := messages.CheckToken("id", id(a)); err != nil || len(id(a)) != 26 {
			t.Fatalf("%q is no token: %v", id(a), err)
		}
	})
}

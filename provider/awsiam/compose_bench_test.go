package awsiam

import (
	"testing"
	"time"
)

// BenchmarkComposePolicy adds a lease's end to its configured policy.
func BenchmarkComposePolicy(b *testing.B) {
	user, until := lease().User, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compose(user.InlinePolicy, until); err != nil {
			b.Fatal(err)
		}
	}
}

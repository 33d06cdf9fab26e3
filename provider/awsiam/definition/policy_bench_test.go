package definition

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// BenchmarkCompose adds the Deny to a configured policy.
func BenchmarkCompose(b *testing.B) {
	configured, until := []byte(awstest.Allow(`"s3:*"`)), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compose(configured, until); err != nil {
			b.Fatal(err)
		}
	}
}

package awsiam

import "testing"

// BenchmarkUser creates a user and deletes it, against the simulator on a loopback
// connection. The result includes the simulator's part.
func BenchmarkUser(b *testing.B) {
	w := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		c, err := w.account.Create(b.Context(), lease())
		if err != nil {
			b.Fatal(err)
		}
		if err := w.account.Delete(b.Context(), deletion(c.AccessKeyID)); err != nil {
			b.Fatal(err)
		}
	}
}

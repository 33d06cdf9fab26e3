package record_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// BenchmarkRecord reads and writes the record of a lease whose delivery is settled.
func BenchmarkRecord(b *testing.B) {
	r := settledLease()
	key, data := r.Name().String(), must(r.Encode())
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(r.Encode())
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			must(record.DecodeAt(key, data))
		}
	})
	b.Run("summarize", func(b *testing.B) {
		header := r.Header()
		b.ReportAllocs()
		for b.Loop() {
			must(record.Summarize(key, header, data))
		}
	})
}

// BenchmarkTransition takes a lease through its life, without the writing.
func BenchmarkTransition(b *testing.B) {
	b.Run("deliver", func(b *testing.B) {
		r := inState(messages.StateActive)
		b.ReportAllocs()
		for b.Loop() {
			must(r.Deliver(noon.Add(2*time.Second), timing))
		}
	})
	settled := settledLease()
	b.Run("renew", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(settled.Renew(noon.Add(time.Hour), 41, noon, timing))
		}
	})
	b.Run("end", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(settled.End(messages.ReasonRequested, "", noon.Add(time.Hour), timing))
		}
	})
	ending := must(settled.End(messages.ReasonRequested, "", noon.Add(time.Hour), timing))
	b.Run("ended", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(ending.Ended(noon.Add(time.Hour)))
		}
	})
}

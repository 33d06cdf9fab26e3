package messages_test

import (
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

func BenchmarkDecodeLeaseRequest(b *testing.B) {
	body := []byte(`{"ttl":"15m","confirm":true,"ready_within":"20s","labels":{"job":"1234"}}`)
	b.ReportAllocs()
	for b.Loop() {
		must(messages.DecodeLeaseRequest(body))
	}
}

func BenchmarkDecodeRenewRequest(b *testing.B) {
	body := []byte(`{"ttl":"1h","clamp":true}`)
	b.ReportAllocs()
	for b.Loop() {
		must(messages.DecodeRenewRequest(body))
	}
}

func BenchmarkDecodeDynamicSecret(b *testing.B) {
	body := []byte(`{"name":"ci","default_ttl":"1h","max_ttl":"24h","aws":{"region":"eu-central-1","path":"/lessor/ci/","groups":["deployers"],
		"managed_policies":["arn:aws:iam::aws:policy/ReadOnlyAccess"],"auth":{"method":"default"},
		"inline_policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}}}`)
	b.ReportAllocs()
	for b.Loop() {
		must(messages.DecodeDynamicSecret(body))
	}
}

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
	b.Run("glance", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			must(record.Summarize(key, r.Header(), data))
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

func BenchmarkEvent(b *testing.B) {
	lease := settledLease().Lease()
	name := must(messages.ParseLeaseName(lease.Name))
	b.ReportAllocs()
	for b.Loop() {
		messages.NewEvent("inst", name, messages.EventIssued, "1", noon, messages.EventData{Lease: lease})
	}
}

// BenchmarkSeal seals credentials for the broker itself, and for a requester's xkey.
func BenchmarkSeal(b *testing.B) {
	broker := ring(seed(1))
	for name, recipient := range map[string]string{"broker": "", "xkey": publicKey(seed(2))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(broker.Seal(recipient, contents()))
			}
		})
	}
}

func BenchmarkCheckXKey(b *testing.B) {
	xkey := publicKey(seed(2))
	b.ReportAllocs()
	for b.Loop() {
		if err := messages.CheckXKey(xkey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignEvent(b *testing.B) {
	broker, body := ring(seed(1)), make([]byte, 600)
	b.ReportAllocs()
	for b.Loop() {
		broker.SignEvent("lessor.event.alice.ci.06ct.issued", "alice.ci.06ct.1.issued", body)
	}
}

package messages_test

import (
	"testing"

	"github.com/lessorhq/lessor/messages"
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

func BenchmarkEvent(b *testing.B) {
	lease := leaseIn(messages.StateActive)
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

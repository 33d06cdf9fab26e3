package username

import (
	"testing"

	"github.com/lessorhq/lessor/messages"
)

// BenchmarkTemplate parses and renders a template.
func BenchmarkTemplate(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"default", messages.DefaultUsernameTemplate},
		{"functions", `{{truncate (replace (lowercase identity.name) "[^a-z0-9]+" "-") 24}}-{{truncate dynamicSecret.name 8}}-{{random 16}}`},
	} {
		b.Run(c.name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.text); err != nil {
					b.Fatal(err)
				}
			}
		})
		template, like := parsed(b, c.text), data("alice")
		b.Run(c.name+"/render", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := template.Render(like); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

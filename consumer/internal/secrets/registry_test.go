package secrets

import (
	"slices"
	"testing"

	"github.com/lessorhq/lessor/messages/bucket"
)

func TestOnlyDefinitionsThatIssueLeasesAreKeptInMemory(t *testing.T) {
	const active = `{"v":1,"definition":{"name":"ci"}}`
	for _, c := range []struct {
		name     string
		entry    bucket.Entry
		kept     bool
		deleting []string
	}{
		{"active", bucket.Entry{Key: "ci", Value: []byte(active)}, true, nil},
		{"being deleted", bucket.Entry{Key: "ci", Value: []byte(`{"v":1,"deleting":true,"definition":{"name":"ci"}}`)}, false, []string{"ci"}},
		{"can't be used", bucket.Entry{Key: "ci", Value: []byte(`{"v":1,"definition":{"name":"cd"}}`)}, false, nil},
		{"of a newer version", bucket.Entry{Key: "ci", Value: []byte(`{"v":2,"definition":{"name":"ci"}}`)}, false, nil},
		{"deleted", bucket.Entry{Key: "ci", Deleted: true}, false, nil},
	} {
		r := New(Config{})
		r.observe(bucket.Entry{Key: "ci", Value: []byte(active)})
		r.observe(c.entry)
		if _, kept := r.inMemory("ci"); kept != c.kept || !slices.Equal(r.Deleting(), c.deleting) {
			t.Errorf("%s: kept %t, being deleted %v", c.name, kept, r.Deleting())
		}
	}
}

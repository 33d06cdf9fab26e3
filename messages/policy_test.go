package messages_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestListJSON(t *testing.T) {
	for data, want := range map[string]messages.List{
		`[]`: nil, `""`: nil, `" "`: nil, `null`: nil, `["a"]`: {"a"}, `"a"`: {"a"}, `"a,b"`: {"a", "b"}, `" a ,\tb "`: {"a", "b"},
		`["a,b"]`: {"a,b"}, ` [" a "]`: {"a"},
	} {
		got := messages.List{"before"}
		if err := json.Unmarshal([]byte(data), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v; want %q", data, got, err, want)
		}
	}
	for _, data := range []string{`","`, `"a,"`, `",a"`, `[""]`, `[" "]`, `1`, `{}`, `[1]`, `[["a"]]`, `true`} {
		var got messages.List
		if err := json.Unmarshal([]byte(data), &got); err == nil {
			t.Errorf("%s: got %q", data, got)
		}
	}
}

func TestPolicyJSON(t *testing.T) {
	const compact = `{"a":"b c"}`
	for data, want := range map[string]string{
		compact: compact, ` { "a" : "b c" } `: compact, `"{\"a\":\n\"b c\"}"`: compact, `""`: "", `"  "`: "", `{}`: "{}", `"{}"`: "{}",
	} {
		var got messages.Policy
		if err := json.Unmarshal([]byte(data), &got); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", data, got, err, want)
		}
		back := string(mustJSON(t, got))
		if want == "" {
			want = "null"
		}
		if back != want {
			t.Errorf("%s: written as %s, want %s", data, back, want)
		}
	}
}

// The document must not share the decoder's buffer.
func TestPolicyIsACopyOfTheInput(t *testing.T) {
	data := []byte(`{"a":"b"}`)
	var p messages.Policy
	if err := p.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	copy(data, "xxxxxxxxx")
	if string(p) != `{"a":"b"}` {
		t.Errorf("got %s", p)
	}
}

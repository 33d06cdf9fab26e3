//go:build unix

package leak

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/leak"
)

// TestTheSearchFinds makes sure of what other tests rely on.
func TestTheSearchFinds(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, before := range []string{"", "a", "ab", "abc"} {
		inner, err := json.Marshal(map[string]string{before: secret})
		if err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string]string{
			"json": string(inner), "base64": base64.StdEncoding.EncodeToString(inner), "raw base64": base64.RawStdEncoding.EncodeToString(inner),
		} {
			if !leak.Contains([]byte(text), secret) {
				t.Errorf("%s behind %q is not found", form, before)
			}
			if leak.Contains([]byte(text), "another"+secret[7:]) {
				t.Errorf("%s behind %q: another secret is found", form, before)
			}
		}
	}
}

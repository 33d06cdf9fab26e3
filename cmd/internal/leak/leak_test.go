package leak

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

func TestContainsFindsASecretInEncodedText(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, before := range []string{"", "a", "ab", "abc"} {
		inner, err := json.Marshal(map[string]string{before: secret})
		if err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string]string{
			"json": string(inner), "base64": base64.StdEncoding.EncodeToString(inner), "raw base64": base64.RawStdEncoding.EncodeToString(inner),
		} {
			if !Contains([]byte(text), secret) {
				t.Errorf("%s behind %q is not found", form, before)
			}
			if Contains([]byte(text), "another"+secret[7:]) {
				t.Errorf("%s behind %q: another secret is found", form, before)
			}
		}
	}
}

func TestSearchFindsEachFormOfASecret(t *testing.T) {
	const secret, other = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "aJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	s := NewSearch([]string{secret})
	for _, form := range Forms(secret) {
		if found := s.Find([]byte("before " + form + " after")); !found[secret] || !Contains([]byte(form), secret) {
			t.Errorf("%s is not found", form)
		}
		if found := s.Find([]byte(form[:len(form)-2])); len(found) != 0 {
			t.Errorf("a part of %s is found", form)
		}
	}
	if found := s.Find([]byte(other)); len(found) != 0 {
		t.Error("another secret is found")
	}
}

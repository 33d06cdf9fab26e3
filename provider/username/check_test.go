package username

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lessorhq/lessor/messages"
)

func parsed(t testing.TB, text string) *Template {
	t.Helper()
	template, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return template
}

func TestCheckUniqueRequiresEnoughRandomCharactersInTheName(t *testing.T) {
	for _, c := range []struct{ template, says string }{
		{messages.DefaultUsernameTemplate, ""},
		{`x`, "has no randomness"},
		{`{{identity.name}}`, "has no randomness"},
		{`{{unixTimestamp}}-{{identity.name}}`, "has no randomness"},
		{`{{random 1}}`, "only 1 random letters or digits"},
		{`{{random 7}}`, "only 7 random letters or digits"},
		{`{{random 8}}`, ""},
		{`{{random 9}}`, ""},
		{`{{random 4}}{{random 3}}`, "only 7"},
		{`{{random 4}}-{{random 4}}`, ""},
		{`{{randomUsername}}`, ""},
		{`{{truncate randomUsername 0}}`, "has no randomness"},
		{`{{truncate randomUsername 7}}`, "only 7"},
		{`{{truncate randomUsername 8}}`, ""},
		{`{{lowercase randomUsername}}`, ""},
		{`{{uppercase (random 8)}}`, ""},
		{`x{{replace (random 9) "." ""}}`, "has no randomness"},
		{`{{replace (random 9) "." "x"}}`, "has no randomness"},
		{`{{truncate "fixed{{random 9}}" 5}}`, "has no randomness"},
		// The same few characters, repeated.
		{`{{replace (random 4) "." "$0$0$0$0"}}`, "only 4"},
		// No letters show, or only half of them do.
		{`{{replace (random 9) "[A-Za-z]" "x"}}`, "random letters or digits show"},
		{`{{replace (random 20) "[A-Z]" ""}}`, ""},
		{`{{replace (random 20) "(?i)[a-z]" ""}}`, "random letters or digits show"},
		// For some identities only.
		{`{{truncate (replace identity.name "$" (random 16)) 64}}`, "aaaaaaa it has no randomness"},
		{`{{replace identity.name "-" (random 16)}}`, "for the identity a it has no randomness"},
		{`{{replace identity.name "^a" (random 16)}}`, "for the identity b it has no randomness"},
		{`{{replace identity.name "^[^7]" (random 8)}}`, "for the identity 7 it has no randomness"},
	} {
		err := parsed(t, c.template).CheckUnique(data(""))
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.template, err, c.says)
		}
		if err != nil && !strings.Contains(err.Error(), "add {{random 16}}") {
			t.Errorf("%s: %v does not state the remedy", c.template, err)
		}
	}
}

func TestRepeatedNamesAreFound(t *testing.T) {
	never := time.Now().Add(time.Hour)
	for _, c := range []struct {
		template string
		names    int
		want     bool
	}{
		{`{{random 1}}`, 64, true},
		{`{{random 2}}`, specimens, true},
		{`{{random 8}}`, specimens, false},
		{`{{lowercase (random 8)}}`, specimens, false},
	} {
		if got, err := repeated(parsed(t, c.template).renderer(), data("a"), c.names, never); err != nil || got != c.want {
			t.Errorf("%s: %t, %v", c.template, got, err)
		}
	}
}

func TestHardIdentitiesCoverLengthsCharactersAndWords(t *testing.T) {
	hard := parsed(t, `{{replace (replace identity.name "deploy|(release)-bot" "x") "(?i)QA" ""}}{{random 16}}`).hardIdentities()
	has := map[string]bool{}
	for _, identity := range hard {
		if err := messages.CheckToken("identity", identity); err != nil {
			t.Errorf("%q: %v", identity, err)
		}
		has[fmt.Sprint(len(identity))] = true
		for i := range identity {
			has[fmt.Sprint(identity[i:i+1], i)] = true
			if i > 0 {
				has[identity[i-1:i+1]] = true
			}
		}
	}
	for _, a := range identityCharacters {
		for i := range maxIdentity {
			if !has[fmt.Sprint(string(a), i)] {
				t.Errorf("no identity has %c at %d", a, i)
			}
		}
		for _, b := range identityCharacters {
			if !has[string(a)+string(b)] {
				t.Errorf("no identity has %c%c", a, b)
			}
		}
	}
	for i := 1; i <= maxIdentity; i++ {
		if !has[fmt.Sprint(i)] {
			t.Errorf("no identity has the length %d", i)
		}
	}
	for _, word := range []string{"deploy", "release", "-bot", "qa", strings.Repeat("deploy", 11)[:maxIdentity]} {
		if !slices.Contains(hard, word) {
			t.Errorf("%s is not among them", word)
		}
	}
}

func TestCheckNamesFindsNamesThatOnlySomeIdentitiesGet(t *testing.T) {
	tooLong := errors.New("too long")
	for _, template := range []string{
		`{{replace identity.name "deploy" "a-very-long-name-for-so-short-a-word-and-more"}}-{{random 16}}`,
		`{{replace identity.name "^_" "a-very-long-name-for-so-short-a-word-and-more"}}-{{random 16}}`,
		`{{replace identity.name "zq" "a-very-long-name-for-so-short-a-word-and-more"}}-{{random 16}}`,
		`{{replace (random 24) "q" "a-very-long-name-for-so-short-a-word-and-more"}}`,
		`{{replace (uppercase identity.name) "RELEASE" "{{identity.name}} is far too long for a name"}}`,
	} {
		err := parsed(t, template).CheckNames(data(""), func(_, name string) error {
			if len(name) > 64 {
				return tooLong
			}
			return nil
		})
		if !errors.Is(err, tooLong) {
			t.Errorf("%s: %v", template, err)
		}
	}
}

func TestTextsAreTheLiteralPartsOfNames(t *testing.T) {
	for template, want := range map[string][]string{
		`ci-{{identity.name}}/{{random 8}}`:                       {"ci-", "/"},
		`{{replace identity.name "[/:]" "$1-${2}+$$"}}`:           {"-+$$"},
		`{{truncate "a/b" 1}}{{"c" | uppercase}}`:                 {"a/b", "c"},
		`{{"w" | replace identity.name "p"}}`:                     {"w"},
		`{{replace (replace "a b" "p" "x") " " (lowercase "Y")}}`: {"Y"},
		`{{randomUsername}}`:                                      nil,
	} {
		if got := parsed(t, template).Texts(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", template, got, want)
		}
	}
}

// An operator waits for the checks of a template.
func BenchmarkCheck(b *testing.B) {
	for _, text := range []string{
		messages.DefaultUsernameTemplate,
		`{{truncate (replace (lowercase identity.name) "[^a-z0-9]+" "-") 24}}-{{truncate dynamicSecret.name 8}}-{{random 16}}`,
		strings.Repeat(`{{truncate (random 100) 0}}`, 8) + `{{randomUsername}}`,
	} {
		b.Run(text[:24], func(b *testing.B) {
			template := parsed(b, text)
			for b.Loop() {
				_ = template.CheckNames(data(""), func(_, _ string) error { return nil })
				_ = template.CheckUnique(data(""))
			}
		})
	}
}

func TestTemplateThatTakesTooLongIsRefused(t *testing.T) {
	if _, err := repeated(parsed(t, `{{random 8}}`).renderer(), data("a"), 2, time.Now().Add(-time.Second)); !errors.Is(err, errCheckTime) {
		t.Error(err)
	}
}

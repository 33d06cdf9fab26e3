package username

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/lessorhq/lessor/messages"
)

func data(identity string) Data {
	return Data{
		Identity: identity, Secret: "ci", Type: "iam_user",
		Now:  time.Unix(1_763_848_800, 0),
		Rand: rand.NewChaCha8([32]byte{1}),
	}
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{`plain`, `^plain$`},
		{`{{randomUsername}}`, `^[A-Za-z0-9]{32}$`},
		{`{{unixTimestamp}}`, `^1763848800$`},
		{`{{identity.name}}/{{dynamicSecret.name}}/{{dynamicSecret.type}}`, `^build-bot/ci/iam_user$`},
		{`{{ identity.name }}-{{- " x" -}} y`, `^build-bot- xy$`},
		{`{{random 1}}`, `^[A-Za-z0-9]$`},
		{`{{random 100}}`, `^[A-Za-z0-9]{100}$`},
		{`{{truncate identity.name 0}}`, `^$`},
		{`{{truncate identity.name 5}}`, `^build$`},
		{`{{truncate identity.name 255}}`, `^build-bot$`},
		{`{{truncate "äöü" 2}}`, `^äö$`},
		{`{{replace identity.name "b[a-z]" "X"}}`, `^Xild-Xt$`},
		{`{{replace identity.name "(b)(.)" "$2$1"}}`, `^ubild-obt$`},
		{`{{replace identity.name "" "."}}`, `^\.b\.u\.i\.l\.d\.-\.b\.o\.t\.$`},
		{`{{replace identity.name "-" ""}}`, `^buildbot$`},
		{`{{uppercase identity.name}}`, `^BUILD-BOT$`},
		{`{{lowercase "ABC"}}`, `^abc$`},
		{`{{identity.name | uppercase}}`, `^BUILD-BOT$`},
		{`{{lowercase (truncate (uppercase identity.name) 3)}}`, `^bui$`},
		{messages.DefaultUsernameTemplate, `^lessor-build-bot-[A-Za-z0-9]{16}$`},
	} {
		parsed, err := Parse(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if got, err := parsed.Render(data("build-bot")); err != nil || !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s makes %q (%v), want %s", c.template, got, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{`{{random 0}}`, "from 1 to 100, not 0"},
		{`{{random 101}}`, "from 1 to 100, not 101"},
		{`{{random -1}}`, "from 1 to 100, not -1"},
		{`{{random}}`, "wrong number of args for random: want 1 got 0"},
		{`{{random "3"}}`, "expected integer"},
		{`{{random 1.5}}`, `"1.5" is not allowed`},
		{`{{truncate identity.name -1}}`, "from 0 to 255, not -1"},
		{`{{truncate identity.name 256}}`, "from 0 to 255, not 256"},
		{`{{replace identity.name 'user' "x"}}`, "double quotes, not in single ones"},
		{`{{replace identity.name "-" '_'}}`, "double quotes, not in single ones"},
		{`{{random 'a'}}`, "double quotes, not in single ones"},
		{`{{truncate 3 identity.name}}`, "expected string"},
		{`{{replace identity.name "(" ""}}`, "missing closing )"},
		{`{{replace identity.name "a{1000}{2}" ""}}`, "not an RE2 expression"},
		{`{{replace identity.name "[a-z]{199}" ""}}`, "too large"},
		{`{{replace (random 100) "." (random 100)}}`, "longer than 512"},
		{`{{identity}}`, "identity needs a field, such as identity.name"},
		{`{{identity.password}}`, `"identity.password" is not allowed`},
		{`{{identity.name.first}}`, "is not allowed"},
		{`{{dynamicSecret.key}}`, "is not allowed"},
		{`{{(identity).name}}`, "is not allowed"},
		{`{{.}}`, `"." is not allowed`},
		{`{{.Identity}}`, `".Identity" is not allowed`},
		{`{{$}}`, `"$" is not allowed`},
		{`{{$x := random 3}}{{$x}}`, "is not allowed"},
		{`{{true}}`, "is not allowed"},
		{`{{printf "%s" identity.name}}`, `"printf" is not allowed`},
		{`{{index identity.name 0}}`, `"index" is not allowed`},
		{`{{call identity}}`, `"call" is not allowed`},
		{`{{(print (printf "x"))}}`, `is not allowed`},
		{`{{env "HOME"}}`, `"env" not defined`},
		{`{{if identity.name}}x{{end}}`, "is not allowed"},
		{`{{with identity.name}}x{{end}}`, "is not allowed"},
		{`{{range identity.name}}x{{end}}`, "is not allowed"},
		{`{{define "x"}}{{end}}`, "inside the template"},
		{`{{block "x" 1}}{{end}}`, "inside the template"},
		{`{{template "x"}}`, "is not allowed"},
		{`{{`, "unclosed action"},
		{strings.Repeat("x", 256), "256 characters, the limit is 255"},
		{strings.Repeat("ä", 256), "256 characters, the limit is 255"},
	} {
		_, err := Parse(c.template)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.template, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "template: ") {
			t.Errorf("%s: %v contains a position of text/template", c.template, err)
		}
	}
	if _, err := Parse(strings.Repeat("ä", 255)); err != nil {
		t.Errorf("255 characters: %v", err)
	}
}

func TestRenderLimitsTheLength(t *testing.T) {
	doubling := `{{replace identity.name "." "$0$0$0$0$0$0$0$0"}}`
	parsed, err := Parse(doubling)
	if err != nil {
		t.Fatal(err)
	}
	if name, err := parsed.Render(data(strings.Repeat("a", 64))); err != nil || len(name) != 512 {
		t.Errorf("512 characters: %d, %v", len(name), err)
	}
	if _, err := parsed.Render(data(strings.Repeat("a", 65))); err == nil {
		t.Error("there is no error for more than 512 characters")
	}
}

func TestRandomCharactersAreUniform(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	// Of the 256 bytes, 8 are dropped, and the others make each character four times.
	got, err := randomCharacters(io.MultiReader(bytes.NewReader(every), bytes.NewReader(every)), 256)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range lettersAndDigits {
		if n := strings.Count(got[:248], string(c)); n != 4 {
			t.Errorf("%c appears %d times", c, n)
		}
	}
}

// stuck is a source of randomness that returns nothing but ones.
type stuck struct{}

func (stuck) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte{0xff}, len(p)))
	return len(p), nil
}

func TestBrokenSourceOfRandomnessIsAnError(t *testing.T) {
	parsed, err := Parse(`{{random 4}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []io.Reader{stuck{}, iotest.ErrReader(errors.New("broken")), strings.NewReader("abc")} {
		d := data("a")
		d.Rand = source
		if name, err := parsed.Render(d); err == nil {
			t.Errorf("%T makes %q", source, name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		messages.DefaultUsernameTemplate, `{{replace identity.name "(.)" "$1$1"}}`, `{{range .}}{{end}}`, `{{identity.name | uppercase}}`,
		`{{/* */}}`, "{{truncate `x` 0x2}}", `{{((((random 3))))}}`, `{{random 'a'}}`, `{{"\xff" | lowercase}}`, `{{break}}`, `{{- -}}`,
	} {
		f.Add(seed, "alice")
	}
	f.Fuzz(func(t *testing.T, text, identity string) {
		if len(identity) > 64 {
			return
		}
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		if utf8.RuneCountInString(text) > maxTemplate {
			t.Fatalf("a template of %d characters is accepted", utf8.RuneCountInString(text))
		}
		name, err := parsed.Render(data(identity))
		if err != nil {
			return
		}
		if len(name) > maxRendered {
			t.Fatalf("the name has %d characters", len(name))
		}
		again, err := parsed.Render(data(identity))
		if err != nil || again != name {
			t.Fatalf("the same data make %q and then %q (%v)", name, again, err)
		}
	})
}

package messages_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/rs/zerolog"
	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

// theSecret is the secret value of the tests.
const theSecret = "wJalrXUtnFEMI/K7MDENG"

func credentials() messages.Credentials {
	return messages.Credentials{
		AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(theSecret), Username: "lessor-alice-x", Region: "us-east-1",
	}
}

// wantHidden fails if out contains the secret in any form that a formatter
// produces.
func wantHidden(t *testing.T, how, out string) {
	t.Helper()
	raw := []byte(theSecret)
	numbers := strings.Trim(fmt.Sprint(raw), "[]")
	for _, spelling := range []string{
		theSecret, strings.ToLower(theSecret), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		fmt.Sprintf("% x", raw), fmt.Sprintf("%# x", raw), numbers, strings.ReplaceAll(numbers, " ", ","),
		base64.StdEncoding.EncodeToString(raw), strings.ReplaceAll(theSecret, "/", `\/`), fmt.Sprintf("%U", []rune(theSecret)),
	} {
		if strings.Contains(out, spelling) {
			t.Errorf("%s shows the secret: %s", how, out)
			return
		}
	}
}

// holders returns values of different types that contain a secret.
func holders() map[string]any {
	s := messages.NewSensitive(theSecret)
	c := credentials()
	type unexported struct{ secret messages.Sensitive }
	type pointer struct{ secret *messages.Sensitive }
	type embedded struct{ messages.Sensitive }
	type deep struct {
		m map[string][]unexported
		a any
		c *messages.Credentials
	}
	return map[string]any{
		"value": s, "pointer": &s, "pointer to pointer": func() **messages.Sensitive { p := &s; return &p }(),
		"credentials": c, "pointer to credentials": &c, "contents": contents(),
		"reply":            messages.Reply{Kind: messages.KindCredentials, Credentials: &c},
		"pointer to reply": &messages.Reply{Kind: messages.KindCredentials, Credentials: &c},
		"unexported field": unexported{s}, "pointer to unexported field": &unexported{s}, "pointer in unexported field": pointer{&s},
		"embedded": embedded{s}, "slice": []messages.Sensitive{s}, "slice of pointers": []*messages.Sensitive{&s},
		"array": [2]messages.Sensitive{s, s}, "map value": map[string]messages.Sensitive{"a": s}, "map key": map[messages.Sensitive]string{s: "a"},
		"any": []any{s, &s, c, unexported{s}}, "slice of unexported": []unexported{{s}}, "map of unexported": map[string]unexported{"a": {s}},
		"deep": deep{map[string][]unexported{"a": {{s}}}, pointer{&s}, &c}, "pointer to deep": &deep{nil, &s, &c},
	}
}

func TestSensitiveIsRedactedByFmt(t *testing.T) {
	for name, v := range holders() {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspwyz!" {
			for _, flags := range []string{"", "+", "#", " ", "-", "0", "#+", "100", ".100", "# ", "+.3"} {
				format := "%" + flags + string(verb)
				wantHidden(t, name+" in "+format, fmt.Sprintf(format, v))
			}
		}
		wantHidden(t, name+" in Sprint", fmt.Sprint(v))
		wantHidden(t, name+" in Sprintln", fmt.Sprintln(v, v))
		wantHidden(t, name+" in an error", fmt.Errorf("failed with %v and %+v and %#v", v, v, v).Error())
		wantHidden(t, name+" in joined errors", errors.Join(fmt.Errorf("%v", v), fmt.Errorf("%s", v)).Error())
		wantHidden(t, name+" in a wrapped error", fmt.Sprintf("%+v", messages.Errorf(messages.CodeInternal, "%v", v).Because(fmt.Errorf("%v", v))))
	}
}

func TestSensitiveIsRedactedByEncoders(t *testing.T) {
	for name, v := range holders() {
		for encoder, encode := range map[string]func(any) ([]byte, error){
			"JSON": json.Marshal,
			"YAML": yaml.Marshal,
			"XML":  xml.Marshal,
			"gob": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := gob.NewEncoder(&b).Encode(v)
				return b.Bytes(), err
			},
			"template": func(v any) ([]byte, error) {
				var b bytes.Buffer
				err := template.Must(template.New("").Parse("{{.}} {{printf \"%v %s %q\" . . .}} {{. | html}} {{. | js}}")).Execute(&b, v)
				return b.Bytes(), err
			},
		} {
			out, err := encode(v)
			wantHidden(t, name+" in "+encoder, string(out))
			if err != nil {
				wantHidden(t, name+"'s error in "+encoder, err.Error())
			}
		}
	}
}

func TestSensitiveIsRedactedInLogs(t *testing.T) {
	for name, v := range holders() {
		var b bytes.Buffer
		z := zerolog.New(&b)
		z.Info().Interface("v", v).Send()
		z.Info().Any("v", v).Fields(map[string]any{"v": v}).Fields([]any{"v", v}).Send()
		z.Info().Err(fmt.Errorf("with %+v", v)).Msgf("%v %+v %#v %s", v, v, v, v)
		z.Info().Type("v", v).Dict("d", zerolog.Dict().Interface("v", v)).Send()
		with := z.With().Interface("v", v).Logger()
		with.Info().Msg("hello")
		if s, ok := v.(fmt.Stringer); ok {
			z.Info().Stringer("v", s).Send()
		}
		console := zerolog.New(zerolog.ConsoleWriter{Out: &b, NoColor: true})
		console.Info().Interface("v", v).Send()
		slog.New(slog.NewJSONHandler(&b, nil)).Info("hello", "v", v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("hello", "v", v)
		wantHidden(t, name+" in a log", b.String())
	}
}

func TestSensitivePrintsRedacted(t *testing.T) {
	s := messages.NewSensitive(theSecret)
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for how, got := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%d": fmt.Sprintf("%d", any(s)), "%#v": fmt.Sprintf("%#v", s), "String": s.String(), "text": string(text),
		"in a struct": strings.Trim(fmt.Sprint(struct{ S messages.Sensitive }{s}), "{}"), "pointer": fmt.Sprint(&s),
		"empty": fmt.Sprint(messages.Sensitive{}), "JSON": strings.Trim(string(mustJSON(t, s)), `"`),
	} {
		if got != "[redacted]" {
			t.Errorf("%s: got %s", how, got)
		}
	}
}

func TestSensitiveReveal(t *testing.T) {
	for _, value := range []string{theSecret, " ", "[redacted]"} {
		if s := messages.NewSensitive(value); s.Reveal() != value || s.IsZero() {
			t.Errorf("got %q, zero: %v", s.Reveal(), s.IsZero())
		}
	}
	for _, s := range []messages.Sensitive{{}, messages.NewSensitive("")} {
		if s.Reveal() != "" || !s.IsZero() {
			t.Errorf("got %q, zero: %v", s.Reveal(), s.IsZero())
		}
	}
}

func TestSensitiveUnmarshalJSON(t *testing.T) {
	var s messages.Sensitive
	if err := json.Unmarshal([]byte(`"`+theSecret+`"`), &s); err != nil || s.Reveal() != theSecret {
		t.Errorf("got %q, %v", s.Reveal(), err)
	}
	for _, empty := range []string{`""`, `null`} {
		s := messages.NewSensitive("before")
		if err := json.Unmarshal([]byte(empty), &s); err != nil || !s.IsZero() {
			t.Errorf("%s: got %q, %v", empty, s.Reveal(), err)
		}
	}
	for _, wrong := range []string{`1`, `{}`, `["` + theSecret + `"]`, `{"a":"` + theSecret + `"}`} {
		err := json.Unmarshal([]byte(wrong), &s)
		if err == nil {
			t.Errorf("%s: accepted", wrong)
			continue
		}
		wantHidden(t, "the error for "+wrong[:1], err.Error())
	}
}

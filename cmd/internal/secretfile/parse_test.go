package secretfile_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/messages"
)

func TestWrongFileDoesNotAffectTheOthers(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":    "name: a\n",
		"b.yml":     "name: b\nmax_ttl: 1m\ndefault_ttl: 2m\n",
		"c.json":    `{"name":"c"}`,
		"d.yaml":    "name: d\n",
		"i.yaml":    "name: d\n", // a second d
		"j.json":    `{"name":"j"} {"name":"k"}`,
		"e.yaml":    "name: e\nname: f\n",
		"f.yaml":    "- name\n",
		"g.yaml":    "name: g\naws: {}\n---\nname: h\n",
		"h.yaml":    "# a comment\n---\nname: h\n",
		"notes.txt": "not a definition",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := secretfile.ReadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a.yaml": "", "b.yml": "above max_ttl", "c.json": "", "d.yaml": "i.yaml", "i.yaml": "d.yaml", "j.json": "after the definition", "e.yaml": "name", "f.yaml": "object", "g.yaml": "second document", "h.yaml": ""}
	if len(files) != len(want) {
		t.Fatalf("%d files", len(files))
	}
	for _, f := range files {
		says, ok := want[filepath.Base(f.Path)]
		if !ok || (f.Err == nil) != (says == "") || (f.Err != nil && !strings.Contains(f.Err.Error(), says)) {
			t.Errorf("%s: %v, want %q", f.Path, f.Err, says)
		}
	}
}

// TestErrorsShowNoTextOfTheFile: text that can't be parsed may be a secret key in the wrong
// place.
func TestErrorsShowNoTextOfTheFile(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for text, says := range map[string]string{
		"name: ci\naws:\n  auth:\n    secret_access_key: [" + secret + "\n":        "line ",
		"name: ci\naws:\n  auth:\n    secret_access_key:" + secret + "\n":          "aws.auth has the wrong type: it is text",
		"name: ci\naws:\n  auth: {secret_access_key:" + secret + "}\n":             "unknown field",
		"name: ci\naws:\n  auth: {a: 1, secret_access_key\n " + secret + ": 1\n":   "line ",
		"name: ci\naws: {auth: {secret_access_key: !!int " + secret + "}}\n":       "this is not YAML",
		"name: ci\naws: {auth: {secret_access_key: !!float " + secret + "}}\n":     "this is not YAML",
		"name: ci\naws: {auth: {secret_access_key: !!binary '" + secret + "!'}}\n": "this is not YAML",
		"name: ci\naws: {auth: {secret_access_key: *" + secret + "}}\n":            "this is not YAML",
		"name: ci\naws: {auth: {secret_access_key: &" + secret + " [1]}}\n":        "this is not YAML",
		"name: ci\naws: &wJalrXUtnFEMI {auth: {a: *wJalrXUtnFEMI}}\n":              "this is not YAML",
		"name: ci\n" + secret + ": 1\n" + secret + ": 2\n":                         "line 3",
		"{[" + secret + "]: 1}\n":                              "this is not YAML",
		"{{" + secret + ": x}: 1}\n":                           "this is not YAML",
		"name: ci\n\t" + secret + "\n":                         "line ",
		"name: ci\nsecret_access_key: \"" + secret + "\\q\"\n": "unknown escape",
		"name: ci\nsecret_access_key: '" + secret + "\n":       "unexpected end",
		"name: ci\n" + secret + "\n":                           "line ",
		"name: ci\nname: cd\n":                                 "line 2: name is given twice",
		"name: ci\naws: a: b\n":                                "line 2: mapping values are not allowed",
		secret:                                                 "an object",
		"name: ci\naws: {auth: {secret_access_key: [" + secret + "]}}\n": "aws.auth.secret_access_key has the wrong type: it is a list, and must be text",
	} {
		_, err := secretfile.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s is accepted", text)
			continue
		}
		if strings.Contains(err.Error(), secret[:8]) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

// FuzzParseSecret: an accepted definition can be stored and read, and stays the same.
func FuzzParseSecret(f *testing.F) {
	f.Add([]byte(sandbox.DemoYAML()))
	f.Add([]byte("name: ci\nhard_expiry: off\naws: {groups: 'a, b', inline_policy: '{\"Version\":\"2012-10-17\"}'}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {}\n: - x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := secretfile.Parse(data)
		if err != nil {
			return
		}
		stored, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := messages.DecodeDynamicSecret(stored)
		if err != nil {
			t.Fatalf("stored as %s: %v", stored, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(stored) {
			t.Fatalf("%s became %s, %v", stored, twice, err)
		}
	})
}

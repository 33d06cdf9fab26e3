package secretfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
)

// File is a definition and where it stands.
type File struct {
	Path   string
	Secret messages.DynamicSecret
	Err    error             // why there is no definition
	sum    [sha256.Size]byte // of the contents, as far as they could be read
}

// ReadFolder reads every definition in a folder: files that end in .yaml,
// .yml or .json, one dynamic secret each. A bad file does not spoil the others.
// The error is for the folder itself.
func ReadFolder(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("--secrets: %w", err)
	}
	var files []File
	names := map[string][]string{}
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		f := File{Path: filepath.Join(dir, e.Name())}
		f.read()
		if f.Err == nil {
			names[f.Secret.Name] = append(names[f.Secret.Name], f.Path)
		}
		files = append(files, f)
	}
	// Which of several is meant nobody can tell: none of them counts.
	for i, f := range files {
		if paths := names[f.Secret.Name]; f.Err == nil && len(paths) > 1 {
			files[i].Err = fmt.Errorf("the secret %q is defined in %s; none of them counts until there is one", f.Secret.Name, strings.Join(paths, " and "))
		}
	}
	return files, nil
}

func (f *File) read() {
	data, err := os.ReadFile(f.Path)
	if err != nil {
		f.Err = err
		return
	}
	defer clear(data) // there may be a secret key in it
	f.sum = sha256.Sum256(data)
	f.Secret, f.Err = Parse(data)
}

// secondDocument finds a document separator behind something that is neither blank
// nor a comment nor a directive. In a block scalar it would be indented.
var secondDocument = regexp.MustCompile(`(?ms)^[^\s#%-][^\n]*$.*^---(\s|$)`)

// oneDocument refuses what stands behind a definition in JSON: the YAML parser would
// not look at it.
func oneDocument(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if d.Decode(new(json.RawMessage)) == nil && len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		return errors.New("there is something behind the definition")
	}
	return nil
}

// Parse reads a definition in YAML or JSON.
func Parse(data []byte) (messages.DynamicSecret, error) {
	if len(data) > messages.MaxSecretBody {
		return messages.DynamicSecret{}, fmt.Errorf("the definition has %d bytes, the limit is %d", len(data), messages.MaxSecretBody)
	}
	if err := oneDocument(data); err != nil {
		return messages.DynamicSecret{}, err
	}
	if secondDocument.Match(data) {
		return messages.DynamicSecret{}, errors.New("there is a second document behind ---; a file has one dynamic secret")
	}
	data, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return messages.DynamicSecret{}, yamlError(err)
	}
	return messages.DecodeDynamicSecret(data)
}

var (
	// yamlReason is what the parser says in its own words, and nothing of the file.
	yamlReason = regexp.MustCompile(`^yaml: ((?:line \d+: )?(?:did not find|could not find|found|control characters|(?:block|mapping) [a-z ]+ not allowed) .*)$`)
	// yamlTwice is a name that is there twice, as long as it looks like one.
	yamlTwice = regexp.MustCompile(`(line \d+: )key "([a-z_]{1,32})" already set in map`)
	yamlLine  = regexp.MustCompile(`line \d+`)
)

// yamlError says what is wrong with a file and where, and nothing of what is in
// it: what can't be read may be the secret key.
func yamlError(err error) error {
	text := err.Error()
	if m := yamlReason.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("this is not YAML: %s", m[1])
	}
	if m := yamlTwice.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s%s is given twice", m[1], m[2])
	}
	if line := yamlLine.FindString(text); line != "" {
		return fmt.Errorf("this is not YAML: %s can't be read", line)
	}
	return errors.New("this is not YAML that a definition can be written in: a text that begins with {, [, *, & or ! must be in quotes")
}

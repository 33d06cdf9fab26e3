// Package secretfile reads definitions of dynamic secrets from YAML and JSON files, and
// keeps a broker's definitions in step with a folder of such files.
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

// File is one file of a folder.
type File struct {
	Path   string
	Secret messages.DynamicSecret
	Err    error             // why the file defines no secret; nil: Secret is valid
	sum    [sha256.Size]byte // of the contents; zero if they could not be read
}

// ReadFolder reads the files of a folder whose names end in .yaml, .yml or .json. Each
// defines one dynamic secret. The error is for the folder; errors of single files are in
// [File.Err].
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
	// If several files define the same secret, none of them is used.
	for i, f := range files {
		if paths := names[f.Secret.Name]; f.Err == nil && len(paths) > 1 {
			files[i].Err = fmt.Errorf("the secret %q is defined in %s; none is used until only one is left", f.Secret.Name, strings.Join(paths, " and "))
		}
	}
	return files, nil
}

// read reads the file into Secret, sum and Err.
func (f *File) read() {
	data, err := os.ReadFile(f.Path)
	if err != nil {
		f.Err = err
		return
	}
	defer clear(data) // it may contain a secret key
	f.sum = sha256.Sum256(data)
	f.Secret, f.Err = Parse(data)
}

// secondDocument matches a document separator after a line that is neither blank nor a
// comment nor a directive. In a block scalar the separator would be indented.
var secondDocument = regexp.MustCompile(`(?ms)^[^\s#%-][^\n]*$.*^---(\s|$)`)

// oneDocument returns an error if anything follows a definition in JSON, which the YAML
// parser would ignore.
func oneDocument(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if d.Decode(new(json.RawMessage)) == nil && len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		return errors.New("there is more text after the definition")
	}
	return nil
}

// Parse reads a definition in YAML or JSON. Its errors never contain text of the
// definition, which may be a secret key.
func Parse(data []byte) (messages.DynamicSecret, error) {
	if len(data) > messages.MaxSecretBody {
		return messages.DynamicSecret{}, fmt.Errorf("the definition has %d bytes, the limit is %d", len(data), messages.MaxSecretBody)
	}
	if err := oneDocument(data); err != nil {
		return messages.DynamicSecret{}, err
	}
	if secondDocument.Match(data) {
		return messages.DynamicSecret{}, errors.New("there is a second document after ---; a file defines one dynamic secret")
	}
	data, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return messages.DynamicSecret{}, yamlError(err)
	}
	return messages.DecodeDynamicSecret(data)
}

var (
	// yamlReason matches messages of the parser that have no text of the file.
	yamlReason = regexp.MustCompile(`^yaml: ((?:line \d+: )?(?:did not find|could not find|found|control characters|(?:block|mapping) [a-z ]+ not allowed) .*)$`)
	// yamlTwice matches the message for a repeated key, if the key looks like a field name.
	yamlTwice = regexp.MustCompile(`(line \d+: )key "([a-z_]{1,32})" already set in map`)
	yamlLine  = regexp.MustCompile(`line \d+`)
)

// yamlError returns what is wrong with a file and on which line. It contains no text of the
// file: what can't be parsed may be the secret key.
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

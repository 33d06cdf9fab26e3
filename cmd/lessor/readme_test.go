package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/lessorhq/lessor/cmd/internal/clitest"
	"github.com/lessorhq/lessor/cmd/internal/sandbox"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
)

// loadDefinition parses and checks a definition as serve does.
func loadDefinition(t *testing.T, text string) messages.DynamicSecret {
	t.Helper()
	d, err := secretfile.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := definition.Check(d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSampleSecretsAreValid(t *testing.T) {
	loadDefinition(t, sandbox.DemoYAML())
	var files []secretfile.File
	for _, dir := range []string{"../../deploy/secrets", "../../deploy/secrets/samples"} {
		found, err := secretfile.ReadFolder(dir)
		if err != nil || len(found) == 0 {
			t.Fatal(err, "or no files")
		}
		files = append(files, found...)
	}
	has := map[any]bool{}
	for _, f := range files {
		t.Run(filepath.Base(f.Path), func(t *testing.T) {
			if f.Err != nil {
				t.Fatal(f.Err)
			}
			has[f.Secret.AWS.CredentialType], has[f.Secret.AWS.Auth.Method] = true, true
			if err := definition.Check(f.Secret); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, kind := range []any{
		messages.CredentialIAMUser, messages.CredentialAssumeRole,
		messages.AuthDefault, messages.AuthAssumeRole, messages.AuthIRSA, messages.AuthPodIdentity, messages.AuthAccessKey,
	} {
		if !has[kind] {
			t.Errorf("no sample has %s", kind)
		}
	}
}

// isDefinition matches a block of YAML with a definition: it has a name and an aws field.
var isDefinition = regexp.MustCompile(`(?ms)^name:.*^aws:`)

func TestDefinitionsInTheDocsAreValid(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "or no files")
	}
	found := 0
	for _, file := range append(files, "../../README.md") {
		for i, text := range clitest.CodeBlocks(t, file, "yaml") {
			if !isDefinition.MatchString(text) {
				continue
			}
			found++
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i), func(t *testing.T) { loadDefinition(t, text) })
		}
	}
	if found < 4 {
		t.Errorf("found only %d definitions", found)
	}
}

func TestSecretInTheReadmeIsTheSample(t *testing.T) {
	sample, err := os.ReadFile("../../deploy/secrets/ci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(loadDefinition(t, clitest.FirstCodeBlock(t, "../../README.md", "yaml")))
	if err != nil {
		t.Fatal(err)
	}
	real, err := json.Marshal(loadDefinition(t, string(sample)))
	if err != nil {
		t.Fatal(err)
	}
	if string(shown) != string(real) {
		t.Fatalf("README.md shows\n%s\nand the sample is\n%s", shown, real)
	}
}

func TestProgramInTheReadmeCompiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(clitest.FirstCodeBlock(t, "../../README.md", "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestRequestInTheReadmeDecodes(t *testing.T) {
	body := regexp.MustCompile("XAB…").ReplaceAllString(clitest.FirstCodeBlock(t, "../../README.md", "json"), "XA5QRZTHYEPXTQBEV7WP2RY4JJ2S5ISCIQAX7T3L4FA5ZRTOTH2HIAMH")
	if _, err := messages.DecodeLeaseRequest([]byte(body)); err != nil {
		t.Fatal(err)
	}
}

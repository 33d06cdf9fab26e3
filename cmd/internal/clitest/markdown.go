package clitest

import (
	"os"
	"regexp"
	"testing"
)

// CodeBlocks returns the fenced code blocks of a language in a Markdown file.
func CodeBlocks(t testing.TB, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

// FirstCodeBlock returns the first fenced code block of a language in a Markdown file,
// which must have one.
func FirstCodeBlock(t testing.TB, file, language string) string {
	t.Helper()
	all := CodeBlocks(t, file, language)
	if len(all) == 0 {
		t.Fatalf("%s has no code block in %s", file, language)
	}
	return all[0]
}

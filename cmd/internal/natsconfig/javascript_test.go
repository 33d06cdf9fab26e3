package natsconfig

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// javaScriptFolder has the client in JavaScript.
const javaScriptFolder = "../../../docs/examples/javascript"

// TestJavaScriptLockFile checks that packages come from the public registry only, and that
// each has a checksum.
func TestJavaScriptLockFile(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join(javaScriptFolder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	packages := bytes.Count(lock, []byte(`"node_modules/`))
	if sums := bytes.Count(lock, []byte(`"integrity": "sha512-`)); packages == 0 || sums != packages {
		t.Errorf("the lock file has %d packages and %d sums", packages, sums)
	}
	for _, url := range regexp.MustCompile(`https?://[^"]*`).FindAll(lock, -1) {
		if !bytes.HasPrefix(url, []byte("https://registry.npmjs.org/")) {
			t.Errorf("the lock file names %s", url)
		}
	}
}

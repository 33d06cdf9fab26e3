package lessortest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
)

// searchSecrets fails the test if a secret access key is stored or logged in clear.
func (w *World) searchSecrets() {
	w.T.Helper()
	for _, where := range w.Leaks() {
		w.T.Errorf("a secret access key is in clear in %s", where)
	}
}

// Leaks returns where a secret access key that AWS issued is in clear: "the log", or
// the path of a file of NATS.
func (w *World) Leaks() []string {
	w.T.Helper()
	secrets := w.Sim.IssuedSecrets()
	var found []string
	search := func(where string, data []byte) {
		for _, s := range secrets {
			if bytes.Contains(data, []byte(s)) {
				found = append(found, where)
				return
			}
		}
	}
	search("the log", []byte(w.Logs.String()))
	root, err := os.OpenRoot(w.Dir)
	if os.IsNotExist(err) {
		return found
	}
	w.NoError(err)
	defer func() { _ = root.Close() }()
	files := root.FS()
	w.NoError(fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files are removed while the server runs
		}
		if data, err := fs.ReadFile(files, path); err == nil {
			search(filepath.Join(w.Dir, path), data)
		}
		return nil
	}))
	return found
}

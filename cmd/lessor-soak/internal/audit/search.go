package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// Search looks for every secret key in all files: stores, logs, events. It must be
// able to find something: what is no secret, the access keys' ids, is there.
func (a *Audit) Search() error {
	secrets := leak.NewSearch(a.secrets)
	var ids []string
	for _, id := range a.users {
		ids = append(ids, id)
	}
	known, seen := leak.NewSearch(ids), map[string]bool{}
	size := 0
	err := filepath.WalkDir(a.w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size += len(data)
		for range secrets.Find(data) {
			a.tally.Violated(verdict.Secrets, path, "a secret key is in clear")
		}
		if strings.Contains(path, string(filepath.Separator)+"nats") {
			for id := range known.Find(data) {
				seen[id] = true
			}
		}
		return nil
	})
	a.tally.Add("secret keys searched for", len(a.secrets))
	a.tally.Add("MB searched", size>>20)
	if err == nil && len(ids) > 0 && len(seen) == 0 {
		err = errors.New("the search for secrets finds nothing, not even what is there")
	}
	return err
}

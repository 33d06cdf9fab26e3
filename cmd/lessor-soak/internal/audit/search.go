package audit

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/cmd/internal/leak"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
)

// SearchSecrets searches all files, that is stores, logs and events, for every secret key
// that AWS has issued. To prove that the search works, it must find the IDs of access keys
// in the stores; they are not secret.
func (a *Audit) SearchSecrets() error {
	secrets := leak.NewSearch(a.secrets)
	ids := leak.NewSearch(slices.Collect(maps.Values(a.keys)))
	foundIDs := false
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
			a.tally.Violated(verdict.SecretFound, path, "the file has a secret key in clear text")
		}
		if strings.Contains(path, string(filepath.Separator)+"nats") {
			for range ids.Find(data) {
				foundIDs = true
			}
		}
		return nil
	})
	a.tally.Add("secret keys searched for", len(a.secrets))
	a.tally.Add("MB searched", size>>20)
	if err == nil && len(a.keys) > 0 && !foundIDs {
		err = errors.New("the search for secrets does not work: it does not find the access key IDs")
	}
	return err
}

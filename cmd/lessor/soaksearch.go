package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// soakSearch finds many secrets in much data: it looks at each place once.
type soakSearch struct {
	filter [1 << 21]byte           // a bit for each beginning, shortened
	forms  map[uint64][]searchForm // by their first eight bytes
}

// searchForm is one form in which a secret could lie around.
type searchForm struct{ text, secret string }

func newSoakSearch(secrets []string) *soakSearch {
	s := &soakSearch{forms: map[uint64][]searchForm{}}
	for _, secret := range secrets {
		for _, form := range soakDisguises(secret) {
			head := binary.LittleEndian.Uint64([]byte(form[:8]))
			s.forms[head] = append(s.forms[head], searchForm{form, secret})
			at := short(head)
			s.filter[at>>3] |= 1 << (at & 7)
		}
	}
	return s
}

// short is the place of a beginning in the filter.
func short(head uint64) uint32 { return uint32(head*0x9E3779B97F4A7C15>>40) & (1<<24 - 1) }

// find returns the secrets in the data.
func (s *soakSearch) find(data []byte) map[string]bool {
	found := map[string]bool{}
	for i := 0; i+8 <= len(data); i++ {
		head := binary.LittleEndian.Uint64(data[i:])
		if at := short(head); s.filter[at>>3]&(1<<(at&7)) == 0 {
			continue
		}
		for _, f := range s.forms[head] {
			if strings.HasPrefix(string(data[i:min(len(data), i+len(f.text))]), f.text) {
				found[f.secret] = true
			}
		}
	}
	return found
}

// soakDisguises are the forms in which a secret could lie around: as it is, and as
// JSON, URLs and dumps write it.
func soakDisguises(secret string) []string {
	forms := []string{secret, hex.EncodeToString([]byte(secret))}
	if escaped := url.QueryEscape(secret); escaped != secret {
		forms = append(forms, escaped)
	}
	for shift := range 3 { // where in base64's groups of three it begins
		data := append(make([]byte, shift), secret...)
		whole := len(data) / 3 * 3
		forms = append(forms, base64.StdEncoding.EncodeToString(data[:whole])[(shift+2)/3*4:])
	}
	return forms
}

// search looks for every secret key in all files: stores, logs, events. It must be
// able to find something: what is no secret, the access keys' ids, is there.
func (a *soakAudit) search() error {
	secrets := newSoakSearch(a.secrets)
	var ids []string
	for _, id := range a.users {
		ids = append(ids, id)
	}
	known, seen := newSoakSearch(ids), map[string]bool{}
	size := 0
	err := filepath.WalkDir(a.w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size += len(data)
		for range secrets.find(data) {
			a.tally.violated("secrets", path, "a secret key is in clear")
		}
		if strings.Contains(path, string(filepath.Separator)+"nats") {
			for id := range known.find(data) {
				seen[id] = true
			}
		}
		return nil
	})
	a.tally.add("secret keys searched for", len(a.secrets))
	a.tally.add("MB searched", size>>20)
	if err == nil && len(ids) > 0 && len(seen) == 0 {
		err = errors.New("the search for secrets finds nothing, not even what is there")
	}
	return err
}

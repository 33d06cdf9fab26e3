// Package leak finds secrets in data that must not contain them: stores, logs and pages.
package leak

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strings"
)

// prefix is how many bytes of a form the index is by.
const prefix = 8

// Search finds many secrets in one pass over the data.
type Search struct {
	filter [1 << 21]byte     // a bit for the hash of each prefix
	forms  map[uint64][]form // by prefix
}

// form is one encoding of a secret.
type form struct{ text, secret string }

// NewSearch returns a search for these secrets. Each must have more than 12 bytes.
func NewSearch(secrets []string) *Search {
	s := &Search{forms: map[uint64][]form{}}
	for _, secret := range secrets {
		for _, text := range Forms(secret) {
			head := binary.LittleEndian.Uint64([]byte(text[:prefix]))
			s.forms[head] = append(s.forms[head], form{text, secret})
			at := bit(head)
			s.filter[at>>3] |= 1 << (at & 7)
		}
	}
	return s
}

// bit is the place of a prefix in the filter.
func bit(head uint64) uint32 { return uint32(head*0x9E3779B97F4A7C15>>40) & (1<<24 - 1) }

// Find returns the secrets that are in the data, in any of their forms.
func (s *Search) Find(data []byte) map[string]bool {
	found := map[string]bool{}
	for i := 0; i+prefix <= len(data); i++ {
		head := binary.LittleEndian.Uint64(data[i:])
		if at := bit(head); s.filter[at>>3]&(1<<(at&7)) == 0 {
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

// Forms returns the forms of a secret that [Search] finds: as it is, and as it is within
// a URL, hexadecimal or base64 text.
func Forms(secret string) []string {
	forms := []string{secret, hex.EncodeToString([]byte(secret))}
	if escaped := url.QueryEscape(secret); escaped != secret {
		forms = append(forms, escaped)
	}
	for shift := range 3 { // its position in base64's groups of three bytes
		data := append(make([]byte, shift), secret...)
		whole := len(data) / 3 * 3
		forms = append(forms, base64.StdEncoding.EncodeToString(data[:whole])[(shift+2)/3*4:])
	}
	return forms
}

// Contains reports whether the data contains the secret in any of its forms.
func Contains(data []byte, secret string) bool {
	for _, f := range Forms(secret) {
		if strings.Contains(string(data), f) {
			return true
		}
	}
	return false
}

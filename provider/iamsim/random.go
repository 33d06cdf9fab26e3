package iamsim

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

// random makes identifiers and secrets in the format of AWS from Options.Rand.
type random struct {
	mu     sync.Mutex
	source io.Reader
}

func (r *random) bytes(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := make([]byte, n)
	if _, err := io.ReadFull(r.source, b); err != nil {
		panic(fmt.Sprintf("iamsim: Options.Rand: %v", err))
	}
	return b
}

// id returns a prefix such as AIDA or AKIA and n characters of base32.
func (r *random) id(prefix string, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	b := r.bytes(n)
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return prefix + string(b)
}

// secret returns a secret access key: 40 characters of base64.
func (r *random) secret() string { return base64.StdEncoding.EncodeToString(r.bytes(30)) }

// sessionToken returns the session token of a temporary key.
func (r *random) sessionToken() string {
	return "IQoJb3JpZ2luX2Vj" + base64.StdEncoding.EncodeToString(r.bytes(96))
}

func (r *random) requestID() string {
	h := hex.EncodeToString(r.bytes(16))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// chance returns true with probability p. It reads no randomness if p is 0.
func (r *random) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	draw := binary.BigEndian.Uint64(r.bytes(8)) >> 11
	return float64(draw)/(1<<53) < p
}

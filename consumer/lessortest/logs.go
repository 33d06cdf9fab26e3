package lessortest

import (
	"bytes"
	"strings"
	"sync"
)

// Logs keeps what is logged, one JSON object a line. It is safe for concurrent use.
type Logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the logs. It never fails.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns everything that was logged.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Count returns how often the words were logged.
func (l *Logs) Count(words string) int { return strings.Count(l.String(), words) }

// Contain reports whether the words were logged.
func (l *Logs) Contain(words string) bool { return strings.Contains(l.String(), words) }

// Reset forgets everything that was logged.
func (l *Logs) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

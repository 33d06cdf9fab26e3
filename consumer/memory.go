package consumer

import (
	"sync"

	"github.com/lessorhq/lessor/messages"
)

// memory is the records of active leases that this broker wrote last. An order about
// such a lease need not ask the bucket first: it is decided by what is remembered, and
// the compare-and-set refuses it where somebody else has written the record since. So
// it is good for what does nothing before the record is written, neither at AWS nor to
// whoever listens. What can't be decided so is decided by the bucket.
//
// It keeps those that were written last, in two halves: when the younger is full it
// becomes the older, and what is in that is forgotten.
type memory struct {
	// current says whether a record is, as far as is known, still as it was at that
	// revision. It spares the refused writes, and not more.
	current func(name messages.LeaseName, revision uint64) bool

	mu             sync.Mutex
	younger, older map[string]held
}

// maxRemembered is how many records a half takes. A record is about 1 KiB, and less where
// it has never been read: then it shares what comes from its definition. An AWS account
// has 5,000 users unless AWS raised that.
const maxRemembered = 8192

func newMemory(current func(messages.LeaseName, uint64) bool) *memory {
	return &memory{current: current, younger: map[string]held{}}
}

// keep remembers a record that was just written. Of one that is not active there is
// nothing to decide that could be decided so.
func (m *memory) keep(rec held) {
	name := rec.Name().String()
	m.mu.Lock()
	defer m.mu.Unlock()
	if have, ok := m.find(name); ok && have.revision > rec.revision {
		return // two were written, and this is told late
	}
	delete(m.older, name)
	if rec.State != messages.StateActive {
		delete(m.younger, name)
		return
	}
	if len(m.younger) >= maxRemembered {
		m.younger, m.older = map[string]held{}, m.younger
	}
	m.younger[name] = rec
}

// recall returns what is remembered of a lease.
func (m *memory) recall(name messages.LeaseName) (held, bool) {
	m.mu.Lock()
	rec, ok := m.find(name.String())
	m.mu.Unlock()
	if ok && !m.current(name, rec.revision) {
		m.forget(name)
		return held{}, false
	}
	return rec, ok
}

// forget is for a record that somebody else has written, or may have.
func (m *memory) forget(name messages.LeaseName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.younger, name.String())
	delete(m.older, name.String())
}

// find looks into both halves. The caller holds mu.
func (m *memory) find(name string) (held, bool) {
	if rec, ok := m.younger[name]; ok {
		return rec, true
	}
	rec, ok := m.older[name]
	return rec, ok
}

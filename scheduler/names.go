package scheduler

import (
	"encoding/binary"
	"strings"
)

// key stands for a lease's name: the number of its owner, and its id packed. An id
// that can't be packed is numbered too; the owner's number says so.
type key struct {
	id    [16]byte
	owner uint32
}

// numbered is set in an owner's number where the id is a number.
const numbered = 1 << 31

// names turns the names of leases into keys and back. An owner, which is all of a
// name but the last token, is kept once for all its leases.
type names struct {
	numbers map[string]uint32 // of the owners
	owners  []ownership
	unused  []uint32       // numbers of owners that are gone
	secrets map[string]int // live leases of each

	odd      map[string]uint64 // names whose id can't be packed
	oddNames map[uint64]string
	oddLast  uint64
}

// ownership is what one owner has.
type ownership struct {
	name   string // "<identity>.<secret>"
	leases int32  // that have a key
	live   int32  // that count
}

func newNames() names {
	return names{
		numbers: map[string]uint32{}, secrets: map[string]int{},
		odd: map[string]uint64{}, oddNames: map[uint64]string{},
	}
}

// split cuts a name before its last token.
func split(name string) (owner, id string) {
	dot := strings.LastIndexByte(name, '.')
	return name[:max(dot, 0)], name[dot+1:]
}

// find returns a name's key if any lease of its owner has one.
func (n *names) find(name string) (key, bool) {
	owner, id := split(name)
	number, ok := n.numbers[owner]
	if !ok {
		return key{}, false
	}
	packed, ok := packLeaseID(id)
	if ok {
		return key{packed, number}, true
	}
	which, ok := n.odd[name]
	return oddKey(which, number), ok
}

func oddKey(which uint64, owner uint32) key {
	k := key{owner: owner | numbered}
	binary.BigEndian.PutUint64(k.id[:], which)
	return k
}

// hold returns a name's key, and keeps what it stands for until it is released.
func (n *names) hold(name string) key {
	owner, id := split(name)
	number, ok := n.numbers[owner]
	if !ok {
		number = n.add(strings.Clone(owner)) // name may be part of something larger
	}
	n.owners[number].leases++
	if packed, ok := packLeaseID(id); ok {
		return key{packed, number}
	}
	n.oddLast++
	name = strings.Clone(name)
	n.odd[name], n.oddNames[n.oddLast] = n.oddLast, name
	return oddKey(n.oddLast, number)
}

func (n *names) add(owner string) (number uint32) {
	if last := len(n.unused) - 1; last >= 0 {
		number = n.unused[last]
		n.unused = n.unused[:last]
	} else {
		number = uint32(len(n.owners))
		n.owners = append(n.owners, ownership{})
	}
	n.owners[number] = ownership{name: owner}
	n.numbers[owner] = number
	return number
}

// release forgets what only this key needed. It must not count any more.
func (n *names) release(k key) {
	if k.owner&numbered != 0 {
		which := binary.BigEndian.Uint64(k.id[:])
		delete(n.odd, n.oddNames[which])
		delete(n.oddNames, which)
	}
	number := k.owner &^ numbered
	o := &n.owners[number]
	if o.leases--; o.leases == 0 {
		delete(n.numbers, o.name)
		*o = ownership{}
		n.unused = append(n.unused, number)
	}
}

// name is what a key stands for.
func (n *names) name(k key) string {
	if k.owner&numbered != 0 {
		return n.oddNames[binary.BigEndian.Uint64(k.id[:])]
	}
	return n.owners[k.owner].name + "." + unpackLeaseID(k.id)
}

// count adds to the live leases of a key's owner and secret.
func (n *names) count(k key, by int) {
	o := &n.owners[k.owner&^numbered]
	o.live += int32(by)
	secret := secretOf(o.name)
	if n.secrets[secret] += by; n.secrets[secret] == 0 {
		delete(n.secrets, secret)
	}
}

func secretOf(owner string) string {
	_, secret, _ := strings.Cut(owner, ".")
	return secret
}

func (n *names) live(identity, secret string) (ofIdentity, ofSecret int) {
	if number, ok := n.numbers[owner(identity, secret)]; ok {
		ofIdentity = int(n.owners[number].live)
	}
	return ofIdentity, n.secrets[secret]
}

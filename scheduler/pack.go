package scheduler

import "encoding/base32"

var base32Lower = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const packedIDLen = 26

func packLeaseID(id string) (packed [16]byte, ok bool) {
	if len(id) != packedIDLen {
		return packed, false
	}
	var text, again [packedIDLen]byte
	copy(text[:], id)
	if _, err := base32Lower.Decode(packed[:], text[:]); err != nil {
		return packed, false
	}
	base32Lower.Encode(again[:], packed[:])
	return packed, again == text
}

func unpackLeaseID(packed [16]byte) string { return base32Lower.EncodeToString(packed[:]) }

package definition

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The tags that state whose a user or a session is. Definitions must not set tags
// with their prefix.
const (
	TagPrefix       = "lessor:"
	TagInstallation = TagPrefix + "installation" // the id of the broker's installation
	TagLease        = TagPrefix + "lease"        // the lease's name
	TagAttempt      = TagPrefix + "attempt"      // users: the attempt that made the user or took it over
	TagIdentity     = TagPrefix + "identity"     // sessions: the requester, for ${aws:PrincipalTag/lessor:identity}

	ownTags = 3 // of a user, and of a session
)

// tagGrammar is IAM's grammar for tag keys and values.
var tagGrammar = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags-ownTags {
		return wrong("tags", "has %d entries, the limit is %d: IAM's %d less lessor's own %d", len(tags), maxTags-ownTags, maxTags, ownTags)
	}
	seen := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if err := checkTag(key, tags[key]); err != nil {
			return err
		}
		folded := strings.ToLower(key)
		if other, ok := seen[folded]; ok {
			return wrong(tagField(key), "is the same key as %s; IAM ignores case", other)
		}
		seen[folded] = key
	}
	return nil
}

func checkTag(key, value string) error {
	field, folded := tagField(key), strings.ToLower(key)
	switch n := utf8.RuneCountInString(key); {
	case n == 0:
		return wrong("tags", "a key is empty")
	case n > maxTagKey:
		return wrong(field, "the key has %d characters, the limit is %d", n, maxTagKey)
	case !tagGrammar.MatchString(key):
		return wrong(field, "the key may have only letters, digits, spaces and _.:/=+-@")
	case strings.HasPrefix(folded, "aws:"), strings.HasPrefix(folded, TagPrefix):
		return wrong(field, "keys that begin with aws: or %s are reserved", TagPrefix)
	}
	if n := utf8.RuneCountInString(value); n > maxTagValue {
		return wrong(field, "the value has %d characters, the limit is %d", n, maxTagValue)
	}
	if !tagGrammar.MatchString(value) {
		return wrong(field, "the value may have only letters, digits, spaces and _.:/=+-@")
	}
	return nil
}

// tagField returns the field of a tag: shortened, and without control characters.
func tagField(key string) string {
	if r := []rune(key); len(r) > maxTagKey {
		key = string(r[:40]) + "…"
	}
	return "tags." + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, key)
}

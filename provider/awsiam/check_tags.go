package awsiam

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var tagGrammar = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags-ownTags {
		return wrong("tags", "there are %d, the limit is %d: IAM's %d less lessor's own %d", len(tags), maxTags-ownTags, maxTags, ownTags)
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
	case strings.HasPrefix(folded, "aws:"), strings.HasPrefix(folded, ownTagPrefix):
		return wrong(field, "keys that begin with aws: or %s are reserved", ownTagPrefix)
	}
	if n := utf8.RuneCountInString(value); n > maxTagValue {
		return wrong(field, "the value has %d characters, the limit is %d", n, maxTagValue)
	}
	if !tagGrammar.MatchString(value) {
		return wrong(field, "the value may have only letters, digits, spaces and _.:/=+-@")
	}
	return nil
}

// tagField names a tag, on one line and not at length.
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

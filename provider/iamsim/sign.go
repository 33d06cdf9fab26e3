package iamsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm    = "AWS4-HMAC-SHA256"
	amzDate      = "20060102T150405Z"
	signatureAge = 15 * time.Minute
)

// signature is a Signature Version 4, parsed from the headers of a request.
type signature struct {
	keyID, day, region, service string
	signedHeaders               []string
	hex                         string

	time  string // X-Amz-Date
	token string // X-Amz-Security-Token
}

func parseSignature(h http.Header) (signature, error) {
	auth := h.Get("Authorization")
	if auth == "" {
		return signature{}, &apiError{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	}
	rest, ok := strings.CutPrefix(auth, algorithm+" ")
	if !ok {
		return signature{}, incompleteSignature("Unsupported AWS 'algorithm': '%s'.", strings.SplitN(auth, " ", 2)[0])
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return signature{}, incompleteSignature("Authorization header requires '%s' parameter.", name)
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return signature{}, incompleteSignature("Credential must have exactly 5 slash-delimited elements, e.g. "+
			"keyid/date/region/service/term, got '%s'", fields["Credential"])
	}
	return signature{
		keyID: scope[0], day: scope[1], region: scope[2], service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"),
		hex:           fields["Signature"],
		time:          h.Get("X-Amz-Date"),
		token:         h.Get("X-Amz-Security-Token"),
	}, nil
}

// verify returns an error unless the signature is valid for this service, time and request.
func (g signature) verify(req *request, partition, secret string, now time.Time) error {
	if err := g.verifyTime(now); err != nil {
		return err
	}
	if g.service != req.svc.name {
		return badSignature("Credential should be scoped to correct service: '%s'. ", req.svc.name)
	}
	if partitionOf(g.region) != partition {
		return badSignature("Credential should be scoped to a valid region. ")
	}
	for _, name := range g.mustBeSigned(req.http.Header) {
		if !slices.Contains(g.signedHeaders, name) {
			return badSignature("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	want, err := hex.DecodeString(g.hex)
	if err != nil || !hmac.Equal(want, g.sign(req, secret)) {
		return badSignature("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func (g signature) verifyTime(now time.Time) error {
	at, err := time.Parse(amzDate, g.time)
	if err != nil {
		return incompleteSignature("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", g.time)
	}
	if g.day != g.time[:8] {
		return badSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "+
			"'%s' != '%s', from '%s'.", g.day, g.time[:8], g.time)
	}
	now = now.UTC()
	if oldest := now.Add(-signatureAge); at.Before(oldest) {
		return badSignature("Signature expired: %s is now earlier than %s (%s - 15 min.)",
			g.time, oldest.Format(amzDate), now.Format(amzDate))
	}
	if newest := now.Add(signatureAge); at.After(newest) {
		return badSignature("Signature not yet current: %s is still later than %s (%s + 15 min.)",
			g.time, newest.Format(amzDate), now.Format(amzDate))
	}
	return nil
}

// mustBeSigned returns the headers that the signature must cover: host and all x-amz- headers.
func (g signature) mustBeSigned(h http.Header) []string {
	names := []string{"host"}
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	return names
}

func (g signature) sign(req *request, secret string) []byte {
	canonical := sha256.Sum256([]byte(g.canonicalRequest(req)))
	toSign := strings.Join([]string{
		algorithm, g.time,
		g.day + "/" + g.region + "/" + g.service + "/aws4_request",
		hex.EncodeToString(canonical[:]),
	}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{g.day, g.region, g.service, "aws4_request", toSign} {
		key = sum(key, part)
	}
	return key
}

func sum(key []byte, data string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(data))
	return m.Sum(nil)
}

func (g signature) canonicalRequest(req *request) string {
	h := req.http
	path := h.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	var headers strings.Builder
	for _, name := range g.signedHeaders {
		headers.WriteString(name + ":" + headerValue(h, name) + "\n")
	}
	return strings.Join([]string{
		h.Method, path, canonicalQuery(h.URL.Query()),
		headers.String(), strings.Join(g.signedHeaders, ";"),
		hex.EncodeToString(req.bodyHash[:]),
	}, "\n")
}

// headerValue returns the value of a header as the client sent it, with white space folded as in the signature.
func headerValue(h *http.Request, name string) string {
	values := h.Header.Values(name)
	switch {
	case name == "host":
		values = []string{h.Host}
	case name == "content-length" && len(values) == 0:
		values = []string{strconv.FormatInt(h.ContentLength, 10)}
	}
	folded := make([]string, len(values))
	for i, v := range values {
		folded[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(folded, ",")
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for name, values := range q {
		for _, v := range values {
			pairs = append(pairs, percentEncode(name)+"="+percentEncode(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)

// partitionOf returns the partition of a region, or "" if it is not a valid region.
func partitionOf(name string) string {
	switch {
	case !region.MatchString(name):
		return ""
	case strings.HasPrefix(name, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(name, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(name, "us-iso-"):
		return "aws-iso"
	case strings.HasPrefix(name, "us-isob-"):
		return "aws-iso-b"
	default:
		return "aws"
	}
}

package iamsim_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// tamper changes a request after it is signed.
type tamper func(*http.Request)

func (m tamper) RoundTrip(r *http.Request) (*http.Response, error) {
	m(r)
	return http.DefaultTransport.RoundTrip(r)
}

func replaceHeader(name, from, to string) tamper {
	return func(r *http.Request) { r.Header.Set(name, strings.Replace(r.Header.Get(name), from, to, 1)) }
}

func replaceBody(from, to string) tamper {
	return func(r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		b = bytes.Replace(b, []byte(from), []byte(to), 1)
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
}

func TestSignatureIsVerified(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	id, secret := w.AddPrincipal("caller")
	const mismatch = "SignatureDoesNotMatch"
	for name, test := range map[string]struct {
		id, secret, token string
		tamper            tamper
		want              string
	}{
		"good":                        {id, secret, "", func(*http.Request) {}, ""},
		"wrong secret":                {id, secret[:39] + "~", "", func(*http.Request) {}, mismatch},
		"unknown key":                 {"AKIAAAAAAAAAAAAAAAAA", secret, "", func(*http.Request) {}, "InvalidClientTokenId"},
		"token with a long-lived key": {id, secret, "token", func(*http.Request) {}, "InvalidClientTokenId"},
		"body changed":                {id, secret, "", replaceBody("alice", "mally"), mismatch},
		"path changed":                {id, secret, "", func(r *http.Request) { r.URL.Path = "/x" }, mismatch},
		"query added":                 {id, secret, "", func(r *http.Request) { r.URL.RawQuery = "UserName=mally" }, mismatch},
		"host changed":                {id, secret, "", func(r *http.Request) { r.Host = "elsewhere" }, mismatch},
		"no authorization":            {id, secret, "", func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationToken"},
		"other algorithm":             {id, secret, "", replaceHeader("Authorization", "AWS4-HMAC-SHA256", "AWS3"), "IncompleteSignature"},
		"no signature":                {id, secret, "", replaceHeader("Authorization", "Signature=", "Signatur="), "IncompleteSignature"},
		"signature not hexadecimal":   {id, secret, "", replaceHeader("Authorization", "Signature=", "Signature=xx"), mismatch},
		"empty signature":             {id, secret, "", cutSignature, "IncompleteSignature"},
		"short scope":                 {id, secret, "", replaceHeader("Authorization", "/aws4_request", ""), "IncompleteSignature"},
		"scope of another service":    {id, secret, "", replaceHeader("Authorization", "/iam/", "/sts/"), mismatch},
		"scope of another region":     {id, secret, "", replaceHeader("Authorization", "/us-east-1/", "/us-east-2/"), mismatch},
		"scope of no region":          {id, secret, "", replaceHeader("Authorization", "/us-east-1/", "/mars/"), mismatch},
		"scope of China":              {id, secret, "", replaceHeader("Authorization", "/us-east-1/", "/cn-north-1/"), mismatch},
		"host not signed":             {id, secret, "", replaceHeader("Authorization", ";host", ""), mismatch},
		"no date":                     {id, secret, "", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "IncompleteSignature"},
		"other day than scope":        {id, secret, "", replaceHeader("Authorization", id+"/20", id+"/19"), mismatch},
		"unsigned amz header":         {id, secret, "", func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }, mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			cfg := w.config(test.id, test.secret, test.token)
			cfg.HTTPClient = &http.Client{Transport: test.tamper}
			_, err := iam.NewFromConfig(cfg).ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: ptr("alice")})
			if test.want == "" {
				test.want = "NoSuchEntity" // accepted, and there is no user alice
			}
			w.want(err, test.want)
		})
	}
}

func cutSignature(r *http.Request) {
	before, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	r.Header.Set("Authorization", before+"Signature=")
}

func TestSignatureAgeIsLimited(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration // of the server's clock
		want  string
	}{
		"fourteen minutes old":           {14 * time.Minute, ""},
		"sixteen minutes old":            {16 * time.Minute, "SignatureDoesNotMatch"},
		"fourteen minutes to the future": {-14 * time.Minute, ""},
		"sixteen minutes to the future":  {-16 * time.Minute, "SignatureDoesNotMatch"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, iamsim.Options{SigningNow: func() time.Time { return time.Now().Add(test.ahead) }})
			_, err := w.sts.GetCallerIdentity(ctx, nil)
			w.want(err, test.want)
			if test.want != "" && !strings.Contains(err.Error(), "Signature expired") && !strings.Contains(err.Error(), "Signature not yet current") {
				t.Error(err)
			}
		})
	}
}

// An account of the partition aws-cn accepts its own regions only.
func TestPartitionOfTheRegion(t *testing.T) {
	w := newWorld(t, iamsim.Options{Partition: "aws-cn", Account: "000000000001"})
	id, secret := w.AddPrincipal("caller")
	cfg := w.config(id, secret, "")
	w.want(w.identity(id, secret, ""), "SignatureDoesNotMatch")
	cfg.Region = "cn-north-1"
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	w.want(err, "")
	if *out.Arn != "arn:aws-cn:iam::000000000001:user/caller" || *out.Account != "000000000001" {
		t.Errorf("%s of %s", *out.Arn, *out.Account)
	}
}

func TestInactiveAndDeletedKeysAreRefused(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	id, secret := w.key("alice")
	w.want(w.identity(id, secret, ""), "")
	set := func(status string) {
		t.Helper()
		_, err := w.iam.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id, Status: statusType(status)})
		w.want(err, "")
	}
	set("Inactive")
	w.want(w.identity(id, secret, ""), "InvalidClientTokenId")
	set("Active")
	w.want(w.identity(id, secret, ""), "")
	used, err := w.iam.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &id})
	w.want(err, "")
	if l := used.AccessKeyLastUsed; *l.ServiceName != "sts" || *l.Region != "us-east-1" || !l.LastUsedDate.Equal(w.clock.now()) {
		t.Errorf("last used: %s %s %v", *l.ServiceName, *l.Region, l.LastUsedDate)
	}
}

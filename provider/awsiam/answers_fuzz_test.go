package awsiam

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lessorhq/lessor/provider"
)

// FuzzAnswers answers calls with arbitrary data. The result is complete, or an error that is
// safe to show and contains no secret.
func FuzzAnswers(f *testing.F) {
	const key = "<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><AccessKeyId>AKIAX</AccessKeyId><SecretAccessKey>hush-hush-hush</SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>"
	refusal := func(code, message string) string {
		return "<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error><RequestId>1</RequestId></ErrorResponse>"
	}
	for _, s := range []string{
		"", " ", key, key[:150], strings.Replace(key, "AKIAX", "", 1), strings.Replace(key, "</SecretAccessKey>", "<hush-hush-hush", 1),
		"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/x</Arn><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
		"<ListUsersResponse><ListUsersResult><IsTruncated>true</IsTruncated><Users><member><UserName>a</UserName><CreateDate>2026-03-01T12:00:00Z</CreateDate></member><member/></Users></ListUsersResult></ListUsersResponse>",
		"<GetUserResponse><GetUserResult><User><UserName>a</UserName><Tags><member><Key>lessor:attempt</Key><Value>-1</Value></member></Tags></User></GetUserResult></GetUserResponse>",
		refusal("NoSuchEntity", "The user with name X cannot be found."), refusal("AccessDenied", "User: x is not authorized to perform: iam:GetUser on resource: *"),
		refusal(strings.Repeat("Long", 2000), "x"), refusal("A&#10;B", "\u202ex"), refusal("<b>", "&#x85;&#x9b;31m"), `{"a":1}`, "<html>502</html>", "<ErrorResponse/>", "<![CDATA[", "<a>" + strings.Repeat("<b>", 3000),
	} {
		f.Add(uint8(len(s)), uint8(0), []byte(s))
		f.Add(uint8(1), uint8(2), []byte(s))
		f.Add(uint8(3), uint8(3), []byte(s))
	}
	var status int
	var body []byte // of the one request at a time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(server.Close)
	statuses := []int{200, 400, 403, 404, 409, 429, 500, 503}
	f.Fuzz(func(t *testing.T, call, which uint8, answer []byte) {
		status, body = statuses[int(which)%len(statuses)], answer
		p := New(Options{Endpoint: server.URL, Credentials: static("AKIA", "s"), Backoff: func(int) time.Duration { return 0 }, MaxConns: 1})
		a := (&fixture{t: t}).connect(p)
		defer p.http.GetTransport().CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := use(ctx, t, a, call)
		if err == nil {
			return
		}
		e := provider.AsError(err)
		wantShown(t, e.Safe(), 400)
		wantShown(t, e.ForOperators().Message, 800)
		wantShown(t, e.Action+" "+e.Resource, 2200)
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), "hush-hush-hush") && status == 200 {
			t.Errorf("a secret is in %v", err)
		}
	})
}

// use makes one of the calls, and fails the test if its result is incomplete.
func use(ctx context.Context, t *testing.T, a provider.Account, call uint8) error {
	t.Helper()
	switch call % 5 {
	case 0:
		c, err := a.CreateOwnKey(ctx)
		if (err == nil) == (c.AccessKeyID == "" || c.SecretAccessKey.IsZero()) {
			t.Errorf("the key is %q: %v", c.AccessKeyID, err)
		}
		return err
	case 1:
		is, err := a.Identify(ctx)
		if (err == nil) == (is.Account == "" || is.ARN == "") {
			t.Errorf("the principal is %+v: %v", is, err)
		}
		return err
	case 2:
		users, marker, err := a.ListUsers(ctx, "/lessor/", "")
		if err != nil && (len(users) > 0 || marker != "") {
			t.Errorf("there are %d users and the marker %q: %v", len(users), marker, err)
		}
		return err
	case 3:
		o, found, err := a.OwnerOf(ctx, "x")
		if err != nil && (found || o != (provider.Owner{})) {
			t.Errorf("%+v, %v", o, err)
		}
		return err
	default:
		_, err := a.OwnKeys(ctx)
		return err
	}
}

// wantShown fails the test if a text is too long or has control characters.
func wantShown(t *testing.T, text string, limit int) {
	t.Helper()
	if len(text) > limit || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("the text of %d bytes is %.200q", len(text), text)
	}
}

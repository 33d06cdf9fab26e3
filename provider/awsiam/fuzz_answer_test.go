package awsiam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/smithy-go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// FuzzAnswers has AWS answer with anything. What comes of it is whole, or an error
// that can be shown; a secret is in no error.
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
	var body []byte // of the only request there is at a time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(server.Close)
	statuses := []int{200, 400, 403, 404, 409, 429, 500, 503}
	f.Fuzz(func(t *testing.T, call, which uint8, answer []byte) {
		status, body = statuses[int(which)%len(statuses)], answer
		p := New(Options{Endpoint: server.URL, Credentials: static("AKIA", "s"), Backoff: func(int) time.Duration { return 0 }, MaxConns: 1})
		a := (&bench{t: t}).connect(p)
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

// use makes one of the calls, and fails if what comes of it is not whole.
func use(ctx context.Context, t *testing.T, a provider.Account, call uint8) error {
	t.Helper()
	switch call % 5 {
	case 0:
		c, err := a.CreateOwnKey(ctx)
		if (err == nil) == (c.AccessKeyID == "" || c.SecretAccessKey.IsZero()) {
			t.Errorf("a key of %q, %v", c.AccessKeyID, err)
		}
		return err
	case 1:
		is, err := a.Identify(ctx)
		if (err == nil) == (is.Account == "" || is.ARN == "") {
			t.Errorf("it is %+v, %v", is, err)
		}
		return err
	case 2:
		users, marker, err := a.ListUsers(ctx, "/lessor/", "")
		if err != nil && (len(users) > 0 || marker != "") {
			t.Errorf("%d users to %q, %v", len(users), marker, err)
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

// wantShown fails if a text is long, or would do something to a terminal.
func wantShown(t *testing.T, text string, limit int) {
	t.Helper()
	if len(text) > limit || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("it shows %d bytes: %.200q", len(text), text)
	}
}

// FuzzDenied reads anything as AWS's words.
func FuzzDenied(f *testing.F) {
	for _, s := range []string{
		"", "Not authorized to perform sts:AssumeRole", "User: arn:aws:iam::1:user/x is not authorized to perform: iam:GetUser on resource: arn:aws:iam::1:user/y because",
		"User: x is not authorized to perform: iam:GetUser on resource: *", "a\n\x1b[31m\u202eb", strings.Repeat("é", 200), "The user with name x cannot be found.",
	} {
		f.Add("AccessDenied", s)
		f.Add("NoSuchEntity", s)
	}
	f.Fuzz(func(t *testing.T, code, message string) {
		err := &smithy.GenericAPIError{Code: code, Message: message}
		e := failure("GetUser", err)
		wantShown(t, e.Safe(), 400)
		wantShown(t, e.ForOperators().Message, 800)
		action, resource := whatIsDenied(err)
		if action != "" && !strings.Contains(message, action) || strings.ContainsAny(action+resource, " \t\r\n\x1b") || resource != "" && resource != "*" && !strings.HasPrefix(resource, "arn:") {
			t.Errorf("%q: %q on %q", message, action, resource)
		}
		if isUserMissing(err) && e.Kind != provider.Denied && code != noSuchEntity {
			t.Errorf("%s: %q says that the user is missing", code, message)
		}
	})
}

// FuzzCheck checks anything as a definition: an error names the field and no secret
// key, and what is taken is within IAM's limits.
func FuzzCheck(f *testing.F) {
	const key = "wJalrXUtnFEMI/K7MDENG"
	whole, err := json.Marshal(definition())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, s := range []string{
		`{"name":"ci"}`, `{"name":"ci","aws":{"region":"cn-north-1","managed_policies":["arn:aws-cn:iam::aws:policy/ReadOnlyAccess"]}}`,
		`{"name":"ci","aws":{"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/a/b","external_id":"xx","auth":{"method":"irsa","assume_role_arn":"arn:aws:iam::123456789012:role/c"}}}`,
		`{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"AKIAIOSFODNN7EXAMPLE","secret_access_key":"` + key + `"}}}`,
		`{"name":"ci","aws":{"auth":{"method":"access_key","access_key_id":"` + key + `","secret_access_key":"` + key + ` "}}}`,
		`{"name":"ci","aws":{"path":"/a//b/","groups":["a","A"],"permissions_boundary":"arn:aws:iam::aws:policy/*"},"tags":{"aws:x":"y","\u0000":"\u202e"}}`,
		`{"name":"ci","username_template":"{{replace identity.name \"a\" \"*\"}}","aws":{"inline_policy":{"Version":"2012-10-17","Statement":[]}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := messages.DecodeDynamicSecret(data)
		if err != nil {
			return
		}
		if err := New(Options{}).Check(s); err != nil {
			m := messages.AsError(err)
			field, _, told := strings.Cut(m.Message, ": ")
			if m.Code != messages.CodeInvalidSecret || !told || field == "" || len(m.Message) > 2500 || strings.ContainsAny(m.Message, "\r\n\x1b") {
				t.Errorf("%q", m.Message)
			}
			if a := s.AWS.Auth; len(a.SecretAccessKey.Reveal()) > 8 && strings.Count(string(data), a.SecretAccessKey.Reveal()) == 1 && strings.Contains(m.Message, a.SecretAccessKey.Reveal()) {
				t.Errorf("the error shows the key: %v", err)
			}
			return
		}
		a := s.AWS
		if len(a.Groups) > maxGroups || len(a.ManagedPolicies) > maxManaged || len(s.Tags) > maxTags-ownTags || len(a.Path) > maxPath {
			t.Errorf("above a limit: %s", data)
		}
		for _, arn := range append([]string{a.PermissionsBoundary, a.RoleARN, a.Auth.RoleARN, a.Auth.AssumeRoleARN}, a.ManagedPolicies...) {
			if arn != "" && (!strings.HasPrefix(arn, "arn:"+partitionOf(a.Region)+":iam::") || strings.ContainsAny(arn, "*? \r\n") && !strings.Contains(arn, "/") || len(arn) > maxARN) {
				t.Errorf("taken: %q", arn)
			}
		}
		for _, text := range append([]string{a.Region, a.Path, a.Auth.ExternalID, a.ExternalID, a.Auth.AccessKeyID, a.Auth.SecretAccessKey.Reveal()}, a.Groups...) {
			if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("taken: %q", text)
			}
		}
		New(Options{}).Notes(s)
	})
}

// FuzzTrust: a trust policy that is made trusts whom the options name, and nobody by a
// wildcard or a variable.
func FuzzTrust(f *testing.F) {
	for _, kind := range []TrustKind{TrustAssumeRole, TrustIRSA, TrustPodIdentity, TrustLeasedRole, "x"} {
		f.Add(string(kind), "arn:aws:iam::123456789012:user/lessor", "my-project", "123456789012", "eu-central-1", clusterIssuer, "lessor/lessor")
		f.Add(string(kind), "arn:aws:iam::123456789012:root", "", "123456789012", "cn-north-1", "https://a/b/", "a/*")
		f.Add(string(kind), "arn:aws:iam::123456789012:role/${aws:x}", "x", "*", "", "*", "")
		f.Add(string(kind), "arn:aws:sts::123456789012:assumed-role/x/y", "xx", "1", "x", `"`, "a/b/c")
	}
	f.Fuzz(func(t *testing.T, kind, principal, externalID, account, region, issuer, serviceAccount string) {
		policy, err := Trust(TrustKind(kind), TrustOptions{
			Principal: principal, ExternalID: externalID, Account: account, Region: region, OIDCProvider: issuer, ServiceAccount: serviceAccount,
		})
		if err != nil {
			if m := messages.AsError(err); len(m.Message) > 1500 || strings.ContainsAny(m.Message, "\r\n\x1b") {
				t.Errorf("%q", m.Message)
			}
			return
		}
		if strings.ContainsAny(string(policy), "*?$") || !json.Valid(policy) {
			t.Errorf("it trusts more than one:\n%s", policy)
		}
		var d struct {
			Statement []struct {
				Principal map[string]string
				Condition map[string]map[string]any
			}
		}
		if err := json.Unmarshal(policy, &d); err != nil || len(d.Statement) == 0 {
			t.Fatalf("%v:\n%s", err, policy)
		}
		first := d.Statement[0]
		switch TrustKind(kind) {
		case TrustAssumeRole, TrustLeasedRole:
			if first.Principal["AWS"] != principal || externalID != "" && first.Condition["StringEquals"]["sts:ExternalId"] != externalID {
				t.Errorf("it trusts\n%s", policy)
			}
		case TrustIRSA:
			if len(first.Condition["StringEquals"]) != 2 || !strings.Contains(first.Principal["Federated"], ":iam::"+account+":oidc-provider/") {
				t.Errorf("it trusts\n%s", policy)
			}
		case TrustPodIdentity:
			if serviceAccount != "" && len(first.Condition["StringEquals"]) != 2 {
				t.Errorf("it trusts\n%s", policy)
			}
		}
	})
}

// FuzzCheckAgent: the token goes over a network in clear to no address that is taken,
// as net/http reads it.
func FuzzCheckAgent(f *testing.F) {
	for _, s := range []string{
		"http://169.254.170.23/v1/credentials", "http://[fd00:ec2::23]/v1", "http://localhost:80", "http://127.0.0.1", "http://[::1]:1/x", "https://x", "HTTP://LOCALHOST", "http://127.0.0.1@evil.example/",
		"http://evil.example#@localhost", "http://localhost.evil.example", "http://[::ffff:10.0.0.1]", "http://[::1%25eth0]", "http:localhost", "//localhost", "ftp://localhost", "http://0x7f.1", "http://:80", "\x7f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		err := checkAgent(address)
		if err != nil {
			if len(address) > 12 && strings.Contains(err.Error(), address) || len(err.Error()) > 200 {
				t.Errorf("the error shows the address: %v", err)
			}
			return
		}
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			return // nothing goes there
		}
		switch r.URL.Scheme {
		case "https":
		case "http":
			host := r.URL.Hostname()
			ip, err := netip.ParseAddr(host)
			if host != "localhost" && (err != nil || !ip.IsLoopback() && ip.String() != "169.254.170.23" && ip.String() != "fd00:ec2::23") {
				t.Errorf("%q leads to %q in clear", address, host)
			}
		default:
			t.Errorf("taken: %q", address)
		}
	})
}

package awsiam

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

const (
	leasedARN = "arn:aws:iam::123456789012:role/lessor/ci"
	trustUs   = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],
		"Principal":{"AWS":"123456789012"},"Condition":{"StringEquals":{"sts:ExternalId":"lessor:7"}}}}`
	object = "arn:aws:s3:::bucket/key"
)

// sessionFixture is an account with a role of which sessions are leased, and a clock that the
// test moves.
type sessionFixture struct {
	*fixture
	moved atomic.Int64
}

// newSessionFixture starts a sessionFixture. The role allows everything in IAM, and in the
// directory of the identity that a session is tagged with.
func newSessionFixture(t *testing.T) *sessionFixture {
	t.Helper()
	b := &sessionFixture{}
	sim := iamsim.New(iamsim.Options{Now: func() time.Time { return time.Now().Add(time.Duration(b.moved.Load())) }})
	if arn := sim.AddRoleAt("/lessor/", "ci", trustUs); arn != leasedARN {
		t.Fatal(arn)
	}
	sim.AddRolePolicy("ci", "rights", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::bucket/*","arn:aws:s3:::own/${aws:PrincipalTag/lessor:identity}/*"]},
		{"Effect":"Allow","Action":["iam:*","sts:*"],"Resource":"*"}]}`)
	server, err := sim.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b.fixture = &fixture{Sim: sim, t: t, server: server}
	id, secret := sim.AddPrincipal("broker")
	b.account = b.as(static(id, secret))
	return b
}

// as connects with other credentials.
func (b *sessionFixture) as(c aws.CredentialsProvider) provider.Account {
	b.t.Helper()
	return b.connect(New(Options{
		Endpoint: b.server.URL, Credentials: c,
		Backoff: func(try int) time.Duration { return time.Duration(try) * time.Millisecond },
	}))
}

// sessionLease returns the creation of a session.
func sessionLease(name string) provider.Creation {
	return provider.Creation{
		User: record.User{
			Name: name, Role: leasedARN, ExternalID: "lessor:7", DenyOnRevoke: true,
			InlinePolicy: []byte(`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["s3:Get*", "iam:ListUsers"], "Resource": "*"}}`),
			Tags:         map[string]string{"team": "platform"},
		},
		Owner: provider.Owner{Installation: "inst", Lease: "alice.ci.x7", Attempt: 1},
		For:   time.Hour,
	}
}

func sessionDeletion(name string) provider.Deletion {
	c := sessionLease(name)
	return provider.Deletion{User: c.User, Owner: c.Owner, OwnerKnown: true}
}

// begin begins a session.
func (b *sessionFixture) begin(c provider.Creation) messages.Credentials {
	b.t.Helper()
	k, err := b.account.Create(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

// works reports whether IAM allows a session a call that every session is allowed.
func (b *sessionFixture) works(c messages.Credentials) bool {
	b.t.Helper()
	_, err := iam.New(iam.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(b.server.URL), Credentials: asSession(c), Retryer: aws.NopRetryer{},
	}).ListUsers(b.t.Context(), &iam.ListUsersInput{})
	if err != nil && code(err) != "AccessDenied" {
		b.t.Fatal(err)
	}
	return err == nil
}

func (b *sessionFixture) expectAllowed(c messages.Credentials, action, resource string, want bool) {
	b.t.Helper()
	if got, err := b.Allowed(c.AccessKeyID, action, resource); err != nil || got != want {
		b.t.Errorf("%s on %s is allowed: %t (%v), want %t", action, resource, got, err, want)
	}
}

// expectNoSecret fails the test if an error contains a secret.
func (b *sessionFixture) expectNoSecret(err error) {
	b.t.Helper()
	for _, secret := range b.IssuedSecrets() {
		if text := fmt.Sprintf("%v %+v %s", err, err, provider.AsError(err).Public()); strings.Contains(text, secret) {
			b.t.Errorf("a secret is in %s", text)
		}
	}
}

func asSession(c messages.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal())
}

func TestSessionIsLimitedByItsPoliciesAndTags(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	c := b.begin(sessionLease("alice-x7"))
	if got := b.actions(); !slices.Equal(got, []string{"AssumeRole"}) {
		t.Errorf("the calls are %v", got)
	}
	if c.Username != "alice-x7" || c.Region != "eu-central-1" || c.SessionToken.IsZero() {
		t.Errorf("the credentials are %v", c)
	}
	if err := b.account.Probe(t.Context(), c); err != nil {
		t.Error(err)
	}
	if !b.works(c) {
		t.Error("IAM denies the session")
	}
	b.expectAllowed(c, "s3:GetObject", object, true)
	b.expectAllowed(c, "s3:PutObject", object, false)  // the session policy does not allow it
	b.expectAllowed(c, "s3:GetObject", "arn:x", false) // the role does not
	b.expectAllowed(c, "s3:GetObject", "arn:aws:s3:::own/alice/k", true)
	b.expectAllowed(c, "s3:GetObject", "arn:aws:s3:::own/bob/k", false)

	c.SessionToken = messages.NewSensitive("wrong")
	if err := b.account.Probe(t.Context(), c); err == nil {
		t.Error("the session token is not sent")
	}
}

func TestAssumeRoleHasTheConfiguredParameters(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	c := sessionLease("alice-x7")
	c.For = 20*time.Minute + 999*time.Millisecond
	c.User.ManagedPolicies = []string{managedPolicy, "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}
	b.begin(c)
	want := map[string]string{
		"RoleArn": leasedARN, "RoleSessionName": "alice-x7", "ExternalId": "lessor:7", "DurationSeconds": "1200",
		"Policy":                  `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:Get*","iam:ListUsers"],"Resource":"*"}}`,
		"PolicyArns.member.1.arn": managedPolicy, "PolicyArns.member.2.arn": "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
		"Tags.member.1.Key": "lessor:installation", "Tags.member.1.Value": "inst",
		"Tags.member.2.Key": "lessor:lease", "Tags.member.2.Value": "alice.ci.x7",
		"Tags.member.3.Key": "lessor:identity", "Tags.member.3.Value": "alice",
		"Tags.member.4.Key": "team", "Tags.member.4.Value": "platform",
		"Action": "AssumeRole", "Version": "2011-06-15",
	}
	params := b.Calls()[0].Params
	for key := range params {
		if params.Get(key) != want[key] {
			t.Errorf("%s is %q, want %q", key, params.Get(key), want[key])
		}
	}
	if len(params) != len(want) {
		t.Errorf("the parameters are %v", params)
	}

	// Parameters that are not configured are not sent.
	b.AddRole("open", strings.Replace(trustUs, `,"Condition":{"StringEquals":{"sts:ExternalId":"lessor:7"}}`, "", 1))
	b.ResetCalls()
	b.begin(provider.Creation{User: record.User{Name: "bob-x7", Role: "arn:aws:iam::123456789012:role/open"}, Owner: c.Owner})
	for _, key := range []string{"ExternalId", "Policy", "PolicyArns.member.1.arn", "Tags.member.4.Key"} {
		if params := b.Calls()[0].Params; params.Has(key) {
			t.Errorf("%s is %q", key, params.Get(key))
		}
	}
}

func TestSessionLengthIsInWholeSecondsAndAtLeastAQuarterHour(t *testing.T) {
	for d, want := range map[time.Duration]int32{
		0: 900, 15*time.Minute - 1: 900, 15 * time.Minute: 900, 15*time.Minute + time.Second - 1: 900,
		15*time.Minute + time.Second: 901, 12 * time.Hour: 43200, 1<<63 - 1: 1<<31 - 1,
	} {
		if got := sessionSeconds(d); got != want {
			t.Errorf("%s is %d s, want %d", d, got, want)
		}
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	c := b.begin(sessionLease("alice-x7"))
	b.moved.Store(int64(59 * time.Minute))
	if err := b.account.Probe(t.Context(), c); err != nil || !b.works(c) {
		t.Errorf("the session has expired too early: %v", err)
	}
	b.moved.Store(int64(time.Hour + time.Second))
	err := b.account.Probe(t.Context(), c)
	if code(err) != "ExpiredToken" {
		t.Errorf("%v", err)
	}
	b.expectNoSecret(err)
	if _, err := b.Allowed(c.AccessKeyID, "s3:GetObject", object); err == nil {
		t.Error("the expired session works")
	}
}

func TestFailedAssumeRoleLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*provider.Creation)
		hook   iamsim.Verdict
		code   string
		kind   provider.Kind
	}{
		"another external id":  {change: func(c *provider.Creation) { c.User.ExternalID = "lessor:8" }, code: "AccessDenied", kind: provider.Denied},
		"no such role":         {change: func(c *provider.Creation) { c.User.Role += "x" }, code: "AccessDenied", kind: provider.Denied},
		"longer than the role": {change: func(c *provider.Creation) { c.For += time.Second }, code: "ValidationError", kind: provider.Rejected},
		"a short name":         {change: func(c *provider.Creation) { c.User.Name = "a" }, code: "ValidationError", kind: provider.Rejected},
		"a malformed policy": {
			change: func(c *provider.Creation) { c.User.InlinePolicy = []byte(`{"Version":"x"}`) },
			code:   "MalformedPolicyDocument", kind: provider.Rejected,
		},
		"a policy that is not JSON": {change: func(c *provider.Creation) { c.User.InlinePolicy = []byte(`{`) }, kind: provider.Rejected},
		"too much when packed": {
			change: func(c *provider.Creation) {
				dice := rand.New(rand.NewPCG(1, 2))
				for i := range 6 {
					c.User.Tags[fmt.Sprint("k", i)] = strings.Map(func(rune) rune { return 'a' + dice.Int32N(26) }, strings.Repeat("x", 128))
				}
			},
			code: "PackedPolicyTooLarge", kind: provider.Rejected,
		},
		"a region without STS": {hook: refuse(403, "RegionDisabledException"), code: "RegionDisabledException", kind: provider.Rejected},
		"throttled for good":   {hook: iamsim.Verdict{Do: iamsim.Throttle}, code: "Throttling", kind: provider.Unavailable},
		"AWS fails":            {hook: refuse(500, "ServiceFailure"), code: "ServiceFailure", kind: provider.Unavailable},
		"no answer":            {hook: iamsim.Verdict{Do: iamsim.DropAfter}, kind: provider.Unavailable},
		"no body":              {hook: iamsim.Verdict{Do: iamsim.Empty}, kind: provider.Unavailable},
		"an expired broker":    {hook: refuse(403, "ExpiredToken"), code: "ExpiredToken", kind: provider.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSessionFixture(t)
			c := sessionLease("alice-x7")
			if test.change != nil {
				test.change(&c)
			}
			if test.hook.Do != iamsim.Proceed {
				b.SetHook(on("AssumeRole", -1, test.hook))
			}
			k, err := b.account.Create(t.Context(), c)
			expectError(t, err, test.kind, provider.LeftNothing)
			if e := provider.AsError(err); e.Code != test.code || !k.SecretAccessKey.IsZero() || !k.SessionToken.IsZero() {
				t.Errorf("the code is %q, want %q; the credentials are %v", e.Code, test.code, k)
			}
			b.expectNoSecret(err)
		})
	}
}

func TestAssumeRoleSurvivesOneFault(t *testing.T) {
	t.Parallel()
	for name, v := range oneFault {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSessionFixture(t)
			b.SetHook(on("AssumeRole", 1, v))
			if c := b.begin(sessionLease("alice-x7")); !b.works(c) || b.count("AssumeRole") != 2 {
				t.Errorf("the calls are %v", b.actions())
			}
		})
	}
}

// oneFault are faults that a call survives that may be repeated.
var oneFault = map[string]iamsim.Verdict{
	"dropped before": {Do: iamsim.DropBefore},
	"dropped after":  {Do: iamsim.DropAfter},
	"empty":          {Do: iamsim.Empty},
	"throttled":      {Do: iamsim.Throttle},
	"ServiceFailure": refuse(500, "ServiceFailure"),
}

// A broker that is a session itself gets sessions of at most an hour.
func TestChainedSessionIsLimitedToAnHour(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	b.SetMaxSessionDuration("ci", 12*time.Hour)
	first := sessionLease("broker")
	first.User.InlinePolicy, first.For = nil, 2*time.Hour
	chained := b.as(asSession(b.begin(first)))
	c := sessionLease("alice-x7")
	if _, err := chained.Create(t.Context(), c); err != nil {
		t.Error(err)
	}
	c.For += time.Second
	_, err := chained.Create(t.Context(), c)
	expectError(t, err, provider.Rejected, provider.LeftNothing)
}

// An answer that lacks a part, or is cut off, is an error, which contains no secret.
func TestIncompleteAnswerToAssumeRoleIsAnError(t *testing.T) {
	t.Parallel()
	const id, secret, token = "<AccessKeyId>ASIAX</AccessKeyId>", "<SecretAccessKey>hush</SecretAccessKey>", "<SessionToken>quiet</SessionToken>"
	for name, parts := range map[string]string{
		"nothing": "", "no id": secret + token, "no secret": id + token, "no token": id + secret,
		"cut off": id + secret + token + "<hush", "no date": id + secret + token + "<Expiration>tomorrow</Expiration>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, "<AssumeRoleResponse><AssumeRoleResult><Credentials>%s</Credentials></AssumeRoleResult></AssumeRoleResponse>", parts)
			}))
			defer server.Close()
			p := New(Options{
				Endpoint: server.URL, Credentials: static("AKIA", "s"),
				Backoff: func(int) time.Duration { return time.Millisecond },
			})
			k, err := (&fixture{t: t}).connect(p).Create(t.Context(), sessionLease("alice-x7"))
			expectError(t, err, provider.Unavailable, provider.LeftNothing)
			if k.AccessKeyID != "" {
				t.Errorf("the credentials are %v", k)
			}
			if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "hush") || strings.Contains(text, "quiet") {
				t.Errorf("a secret is in %s", text)
			}
		})
	}
}

func TestExtendRejectsSessions(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	expectError(t, b.account.Extend(t.Context(), sessionLease("alice-x7").User, time.Now().Add(time.Hour)), provider.Rejected, "")
	if n := len(b.Calls()); n > 0 {
		t.Errorf("there were %d calls", n)
	}
}

// Both the role's trust policy and the broker's own permissions must allow the tags.
func TestSessionNeedsThePermissionToTag(t *testing.T) {
	t.Parallel()
	b := newSessionFixture(t)
	id, secret := b.AddPrincipalWithPolicy("untagging",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`)
	_, err := b.as(static(id, secret)).Create(t.Context(), sessionLease("alice-x7"))
	expectError(t, err, provider.Denied, provider.LeftNothing)
	if !strings.Contains(err.Error(), "sts:TagSession") {
		t.Error(err)
	}
}

package messages_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

const second = messages.Duration(time.Second)

// sessionPlan is the plan of a session of a role, which a revocation denies
// everything.
func sessionPlan() record.Plan {
	p := plan()
	p.User = record.User{
		Name: "lessor-alice-x1y2", ManagedPolicies: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		InlinePolicy: []byte(`{"Version":"2012-10-17","Statement":[]}`), Tags: map[string]string{"team": "platform"},
		Role: "arn:aws:iam::123456789012:role/leased", ExternalID: "lessor:7", DenyOnRevoke: true,
	}
	p.TTL, p.DefaultTTL, p.MaxTTL = hour, hour, 12*hour
	return p
}

// sessionIn makes a session's record in each state. It begins at noon and ends at
// one.
func sessionIn(state messages.State) record.Record {
	r := record.New(sessionPlan(), noon, timing)
	switch state {
	case messages.StateActive:
		r = must(r.Activate("ASIAX", &messages.Sealed{From: "XABC", Box: []byte("box")}, noon, timing))
	case messages.StateRevoking:
		r = must(sessionIn(messages.StateActive).End(messages.ReasonRequested, "done", noon.Add(5*time.Minute), timing))
	case messages.StateRevoked:
		r = must(sessionIn(messages.StateRevoking).Ended(noon.Add(5 * time.Minute)))
	case messages.StateFailed:
		r = must(r.Fail(messages.Errorf(messages.CodeProviderRejected, "no such role"), true, noon, timing))
	}
	if r.State != state {
		panic(fmt.Sprintf("made %s, want %s", r.State, state))
	}
	return r
}

// cutSession is a session that was cut off at 12:06.
func cutSession() record.Record {
	return must(sessionIn(messages.StateRevoking).DenySession(noon.Add(6 * time.Minute)))
}

// denied says whether undoing the lease now has a Deny put on the role, which must
// stay until the session has expired.
func (l *lifetime) denied() bool {
	r := l.record
	return r.User.IsSession() && r.User.DenyOnRevoke && !r.IssuedAt.IsZero() && r.Reason != messages.ReasonExpired && l.now.Before(r.SessionEnd())
}

// checkNotRenewable checks that a session is never renewed, whenever somebody asks.
func (l *lifetime) checkNotRenewable(t *rapid.T) {
	r := l.record
	end, err := r.RenewalEnd(messages.RenewRequest{TTL: minute, Clamp: true}, l.now, 0)
	if err == nil {
		t.Fatalf("a session that is %s can be renewed to %s", r.State, end)
	}
	if late := l.now.After(r.ExpiresAt); r.State == messages.StateActive && messages.IsCode(err, messages.CodeNotRenewable) == late {
		t.Fatalf("at %s, with its end at %s: %v", l.now, r.ExpiresAt, err)
	}
}

// checkSessionStep checks what must hold, of sessions, between a record and the one
// before it.
func (l *lifetime) checkSessionStep(t *rapid.T, before record.Record, name string) {
	r := l.record
	newLease := name == "new" || name == "again"
	switch {
	case newLease && !r.DeniedAt.IsZero():
		t.Fatalf("%s: begins with a Deny of %s", name, r.DeniedAt)
	case !newLease && before.DeniedAt.IsZero() && !r.DeniedAt.IsZero() && name != "cut off":
		t.Fatalf("%s: cut it off", name)
	case before.Cut() && !r.State.Ended() && !r.DeniedAt.Equal(before.DeniedAt):
		t.Fatalf("%s: moved the cut from %s to %s", name, before.DeniedAt, r.DeniedAt)
	case before.Cut() && l.now.Before(before.SessionEnd()) && r.State != messages.StateRevoking:
		t.Fatalf("%s: is %s at %s, and the session works until %s without its Deny", name, r.State, l.now, before.SessionEnd())
	case name == "cut off" && r.TeardownError != "":
		t.Fatalf("cut off, and could not be: %s", r.TeardownError)
	}
	if before.State.Ended() || !r.State.Ended() {
		return
	}
	// It has ended just now. Could its credentials still work?
	ms := l.now.UTC().Truncate(time.Millisecond)
	works := before.User.IsSession() && !before.IssuedAt.IsZero() && before.DeniedAt.IsZero() && ms.Before(before.ExpiresAt)
	switch want := before.ExpiresAt; {
	case works && !r.ValidUntil.Equal(want):
		t.Fatalf("%s: the credentials work until %s, and it says %s", name, want, r.ValidUntil)
	case !works && !r.ValidUntil.IsZero():
		t.Fatalf("%s: the credentials do not work, and it says until %s", name, r.ValidUntil)
	case before.Cut() && !r.EndedAt.Equal(before.DeniedAt):
		t.Fatalf("%s: ended at %s, and was cut off at %s", name, r.EndedAt, before.DeniedAt)
	case !before.Cut() && !r.EndedAt.Equal(ms):
		t.Fatalf("%s: ended at %s, and it was %s", name, r.EndedAt, ms)
	}
	if before.Cut() && before.Reason != messages.ReasonFailed {
		// To its holder nothing happens any more.
		seen, sees := before.Lease(), r.Lease()
		seen.Error = nil
		if !reflect.DeepEqual(seen, sees) {
			t.Fatalf("%s: was seen as\n%+v and is seen as\n%+v", name, seen, sees)
		}
	}
}

// checkSession checks what must hold of every record, of sessions and of users.
func checkSession(t *rapid.T, r record.Record) {
	if !r.DeniedAt.IsZero() && (!r.User.IsSession() || r.State != messages.StateRevoking) {
		t.Fatalf("cut off, %s, and of the role %q", r.State, r.User.Role)
	}
	if r.Cut() == r.DeniedAt.IsZero() {
		t.Fatalf("cut at %s, and Cut is %v", r.DeniedAt, r.Cut())
	}
	if !r.SessionEnd().After(r.ExpiresAt) {
		t.Fatalf("the session ends at %s, not after its lease at %s", r.SessionEnd(), r.ExpiresAt)
	}
	if r.Cut() && (r.Due.Before(r.SessionEnd()) || r.Action(r.SessionEnd().Add(-1)) != record.ActionNone) {
		t.Fatalf("cut off until %s, and due at %s", r.SessionEnd(), r.Due)
	}
	if !r.ValidUntil.IsZero() && (!r.State.Ended() || !r.ValidUntil.Equal(r.ExpiresAt) || !r.EndedAt.Before(r.ValidUntil)) {
		t.Fatalf("%s at %s, ends at %s, valid until %s", r.State, r.EndedAt, r.ExpiresAt, r.ValidUntil)
	}
	lease := r.Lease()
	state, ended := r.State, r.EndedAt
	if r.Cut() {
		state, ended = messages.StateRevoked, r.DeniedAt
		if !r.Settled() || !r.DeliverBy.IsZero() || !r.ConfirmBy.IsZero() {
			t.Fatalf("cut off, and to be delivered: %+v", r)
		}
	}
	if lease.State != state || !lease.EndedAt.Equal(ended) || !lease.ValidUntil.Equal(r.ValidUntil) {
		t.Fatalf("shown as %s, ended %s, valid until %s: %+v", lease.State, lease.EndedAt, lease.ValidUntil, r)
	}
	if lease.State.Ended() == lease.EndedAt.IsZero() {
		t.Fatalf("shown as %s, ended %s", lease.State, lease.EndedAt)
	}
}

func TestSessionTransitions(t *testing.T) {
	const provisioning, active, revoking = messages.StateProvisioning, messages.StateActive, messages.StateRevoking
	want := map[messages.State]messages.State{revoking: revoking}
	for _, from := range states {
		before := sessionIn(from)
		next, err := before.DenySession(noon.Add(time.Hour))
		if !reflect.DeepEqual(before, sessionIn(from)) {
			t.Errorf("%s: the old record was changed", from)
		}
		if to, possible := want[from]; possible {
			if err != nil || next.State != to {
				t.Errorf("%s: led to %s, %v", from, next.State, err)
			}
			continue
		}
		if err == nil || !reflect.DeepEqual(next, before) {
			t.Errorf("%s: led to %s, %v", from, next.State, err)
		} else if !strings.Contains(err.Error(), before.Name().String()) || !strings.Contains(err.Error(), string(from)) {
			t.Errorf("error %q names not both lease and state", err)
		}
	}
	for _, from := range []messages.State{provisioning, active, revoking} {
		r := inState(from)
		if next, err := r.DenySession(noon); err == nil || !reflect.DeepEqual(next, r) {
			t.Errorf("%s, an IAM user: led to %s, %v", from, next.State, err)
		}
	}
}

func TestCutOffWaitsForTheSessionsEndAndNothingElseChanges(t *testing.T) {
	undoing := must(sessionIn(messages.StateRevoking).TeardownFailed("AWS is away", noon.Add(5*time.Minute)))
	end := noon.Add(time.Hour + time.Minute)
	for _, c := range []struct {
		name     string
		now      time.Time
		cut, due time.Time
	}{
		{"at once", noon.Add(6 * time.Minute), noon.Add(6 * time.Minute), end},
		{"to the millisecond, in UTC", noon.Add(6*time.Minute + 1234567).In(time.FixedZone("east", 3600)), noon.Add(6*time.Minute + time.Millisecond), end},
		{"a moment before the end", end.Add(-time.Millisecond), end.Add(-time.Millisecond), end},
		{"at the end", end, end, end},
		{"after it", end.Add(time.Minute), end.Add(time.Minute), end.Add(time.Minute)},
	} {
		got := must(undoing.DenySession(c.now))
		want := undoing
		want.DeniedAt, want.Due, want.TeardownError = c.cut, c.due, ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", c.name, got, want)
		}
	}
}

// The Deny may have to be put there again; the session ended with the first.
func TestTheFirstCutCounts(t *testing.T) {
	r := cutSession()
	again := must(r.DenySession(noon.Add(30 * time.Minute)))
	if !reflect.DeepEqual(again, r) {
		t.Errorf("got\n%+v, want\n%+v", again, r)
	}
}

func TestSessionEndIsAMinuteBehindTheLeases(t *testing.T) {
	if got := sessionIn(messages.StateActive).SessionEnd(); !got.Equal(noon.Add(61 * time.Minute)) {
		t.Errorf("got %s", got)
	}
}

func TestIsSession(t *testing.T) {
	for _, c := range []struct {
		user record.User
		want bool
	}{
		{record.User{}, false}, {record.User{Name: "a", Path: "/lessor/", ExternalID: "7", DenyOnRevoke: true}, false},
		{record.User{Role: "arn:aws:iam::123456789012:role/leased"}, true}, {sessionPlan().User, true}, {plan().User, false},
	} {
		if got := c.user.IsSession(); got != c.want {
			t.Errorf("%+v: got %v", c.user, got)
		}
	}
}

func TestCut(t *testing.T) {
	for _, s := range states {
		if sessionIn(s).Cut() || inState(s).Cut() {
			t.Errorf("%s is cut off", s)
		}
		r := sessionIn(s)
		r.DeniedAt = noon
		if r.Cut() != (s == messages.StateRevoking) {
			t.Errorf("%s with a cut: %v", s, r.Cut())
		}
	}
	if !cutSession().Cut() {
		t.Error("cut off, and is not")
	}
}

// Removing the Deny before its session has expired would bring that back to life.
func TestACutSessionIsLeftAloneUntilItHasExpired(t *testing.T) {
	r := cutSession()
	end := r.SessionEnd()
	for name, early := range map[string]time.Time{"long before": noon.Add(10 * time.Minute), "at the lease's end": r.ExpiresAt, "a moment before": end.Add(-1)} {
		if task := r.Action(early); task != record.ActionNone {
			t.Errorf("%s there is %q to do", name, task)
		}
		next, err := r.Ended(early)
		if err == nil || !reflect.DeepEqual(next, r) {
			t.Errorf("%s: it has ended (%v)", name, err)
		} else if !strings.Contains(err.Error(), r.Name().String()) || !strings.Contains(err.Error(), "2026-11-22T13:01:00Z") {
			t.Errorf("error %q names not both lease and end", err)
		}
		// Somebody looks all the same, an operator or a clock that is ahead.
		for how, later := range map[string]record.Record{
			"claimed": must(r.RetryTeardown(early, timing)), "failed": must(r.TeardownFailed("away", early)), "cut again": must(r.DenySession(early)),
		} {
			if later.Due.Before(end) {
				t.Errorf("%s %s: due at %s, before %s", how, name, later.Due, end)
			}
			if !later.DeniedAt.Equal(r.DeniedAt) {
				t.Errorf("%s %s: cut at %s", how, name, later.DeniedAt)
			}
		}
	}
	if task := r.Action(end); task != record.ActionTeardown {
		t.Errorf("at its end there is %q to do", task)
	}
	if got := must(r.RetryTeardown(end, timing)); !got.Due.Equal(end.Add(30 * time.Second)) {
		t.Errorf("claimed at the end, and due at %s", got.Due)
	}
	if got := must(r.TeardownFailed("away", end)); !got.Due.Equal(end.Add(record.MinTeardownWait)) {
		t.Errorf("failed at the end, and due at %s", got.Due)
	}
	if _, err := r.Ended(end); err != nil {
		t.Error(err)
	}
}

func TestTombstonesOfSessionsSayHowLongTheyWork(t *testing.T) {
	expires := noon.Add(time.Hour)
	issued, cut := sessionIn(messages.StateRevoking), cutSession()
	undenied := issued
	undenied.User.DenyOnRevoke = false
	never := must(sessionIn(messages.StateProvisioning).End(messages.ReasonSecretDeleted, "", noon, timing))
	for _, c := range []struct {
		name         string
		record       record.Record
		now          time.Time
		ended, valid time.Time
	}{
		{"long before its end", issued, noon.Add(10 * time.Minute), noon.Add(10 * time.Minute), expires},
		{"where nothing is ever denied", undenied, noon.Add(10 * time.Minute), noon.Add(10 * time.Minute), expires},
		{"a moment before its end", issued, expires.Add(-1), expires.Add(-time.Millisecond), expires},
		{"at its end", issued, expires, expires, time.Time{}},
		{"a moment after its end", issued, expires.Add(time.Millisecond), expires.Add(time.Millisecond), time.Time{}},
		{"cut off", cut, cut.SessionEnd(), cut.DeniedAt, time.Time{}},
		{"cut off, tidied up late", cut, cut.SessionEnd().Add(time.Hour), cut.DeniedAt, time.Time{}},
		{"never issued", never, noon.Add(time.Minute), noon.Add(time.Minute), time.Time{}},
		{"an IAM user", inState(messages.StateRevoking), noon, noon, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tomb := must(c.record.Ended(c.now))
			if !tomb.EndedAt.Equal(c.ended) || !tomb.ValidUntil.Equal(c.valid) || !tomb.DeniedAt.IsZero() {
				t.Errorf("ended %s, valid until %s, cut at %s", tomb.EndedAt, tomb.ValidUntil, tomb.DeniedAt)
			}
			if !reflect.DeepEqual(tomb.User, record.User{Name: c.record.User.Name}) {
				t.Errorf("the tombstone keeps %+v", tomb.User)
			}
			if l := tomb.Lease(); l.State != messages.StateRevoked || !l.EndedAt.Equal(c.ended) || !l.ValidUntil.Equal(c.valid) {
				t.Errorf("shown as %+v", l)
			}
		})
	}
}

func TestLeaseOfACutSessionIsRevoked(t *testing.T) {
	got := string(mustJSON(t, cutSession().Lease()))
	want := `{"name":"alice.ci.06ct3kq0zs1t1d9n6wvb6q0x2m","identity":"alice","secret":"ci","id":"06ct3kq0zs1t1d9n6wvb6q0x2m",` +
		`"state":"revoked","username":"lessor-alice-x1y2","access_key_id":"ASIAX","issued_at":"2026-11-22T12:00:00Z",` +
		`"expires_at":"2026-11-22T13:00:00Z","max_expires_at":"2026-11-23T00:00:00Z","ended_at":"2026-11-22T12:06:00Z",` +
		`"renewals":0,"labels":{"job":"1234"},"reason":"requested"}`
	if got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if s := cutSession().State; s != messages.StateRevoking {
		t.Errorf("the record itself is %s", s)
	}
}

func TestLeaseSaysHowLongASessionThatIsLeftWorks(t *testing.T) {
	got := string(mustJSON(t, sessionIn(messages.StateRevoked).Lease()))
	for _, want := range []string{`"state":"revoked"`, `"ended_at":"2026-11-22T12:05:00Z"`, `"valid_until":"2026-11-22T13:00:00Z"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestCutSessionIsAgainOnlyWhenItsDenyIsGone(t *testing.T) {
	cut := must(must(sessionIn(messages.StateActive).End(messages.ReasonUndelivered, "", noon, timing)).DenySession(noon))
	// Nor is anybody told to wait for that: it may be hours.
	if cut.Repeatable() || cut.WillBeRepeatable() {
		t.Errorf("repeatable %v, will be %v", cut.Repeatable(), cut.WillBeRepeatable())
	}
	if _, err := cut.Again(plan(), noon, timing); err == nil {
		t.Error("began again beside its Deny")
	}
	tomb := must(cut.Ended(cut.SessionEnd()))
	if next := must(tomb.Again(sessionPlan(), noon, timing)); !next.DeniedAt.IsZero() || !next.ValidUntil.IsZero() || !next.EndedAt.IsZero() {
		t.Errorf("began again with what was: %+v", next)
	}
}

func TestSessionsAreNotRenewable(t *testing.T) {
	active := must(sessionIn(messages.StateActive).Confirmed(noon, timing))
	for _, c := range []struct {
		name   string
		record record.Record
		stored time.Time
		code   messages.Code
	}{
		{"active", active, noon.Add(time.Minute), messages.CodeNotRenewable},
		{"to be delivered", sessionIn(messages.StateActive), noon.Add(time.Minute), messages.CodeNotRenewable},
		{"at its end", active, active.ExpiresAt, messages.CodeNotRenewable},
		{"after its end", active, active.ExpiresAt.Add(1), messages.CodeLeaseEnded},
		{"provisioning", sessionIn(messages.StateProvisioning), noon, messages.CodeUnavailable},
		{"revoking", sessionIn(messages.StateRevoking), noon, messages.CodeLeaseEnded},
		{"cut off", cutSession(), noon, messages.CodeLeaseEnded},
		{"revoked", sessionIn(messages.StateRevoked), noon, messages.CodeLeaseEnded},
		{"failed", sessionIn(messages.StateFailed), noon, messages.CodeLeaseEnded},
	} {
		for _, q := range []messages.RenewRequest{{}, {TTL: hour}, {TTL: 100 * 24 * hour}, {TTL: second}, {TTL: 100 * 24 * hour, Clamp: true}} {
			end, err := c.record.RenewalEnd(q, c.stored, minute)
			wantCode(t, err, c.code)
			if !end.IsZero() {
				t.Errorf("%s: an end all the same: %s", c.name, end)
			}
			if e := messages.AsError(err); c.code == messages.CodeNotRenewable && (e.Retryable || e.Status() != "409") {
				t.Errorf("%s: %+v, %s", c.name, e, e.Status())
			}
		}
	}
}

// sessionBody is a definition of sessions with more fields, and an authentication.
func sessionBody(fields, auth string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"name":"ci"` + fields + `,"aws":{"credential_type":"assume_role","role_arn":"arn:aws:iam::123456789012:role/leased","auth":{` + auth + `}}}`
}

// authMethods are the ways to authenticate, and whether they make the broker a
// session of a role itself.
var authMethods = map[messages.AuthMethod]bool{
	messages.AuthDefault: false, messages.AuthAccessKey: false, "": false,
	messages.AuthAssumeRole: true, messages.AuthIRSA: true, messages.AuthPodIdentity: true,
}

func TestChained(t *testing.T) {
	for method, want := range authMethods {
		if got := (messages.Auth{Method: method}).Chained(); got != want {
			t.Errorf("%q: got %v", method, got)
		}
	}
}

func TestDecodeSessionFillsInTheDefaults(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/leased"
	for method, chained := range authMethods {
		auth, most := "", 12*hour
		if method != "" {
			auth = `"method":"` + string(method) + `"`
		}
		if chained {
			most = hour
		}
		got, err := messages.DecodeDynamicSecret([]byte(sessionBody("", auth)))
		want := messages.DynamicSecret{
			Name: "ci", DefaultTTL: hour, MaxTTL: most, UsernameTemplate: messages.DefaultUsernameTemplate,
			AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole, Region: "us-east-1", RoleARN: role, Auth: messages.Auth{Method: method}},
		}
		if method == "" {
			want.AWS.Auth.Method = messages.AuthDefault
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v; want %+v", method, got, err, want)
		}
	}
}

func TestSessionTimes(t *testing.T) {
	plain, chained := []messages.AuthMethod{messages.AuthDefault, messages.AuthAccessKey}, []messages.AuthMethod{messages.AuthAssumeRole, messages.AuthIRSA, messages.AuthPodIdentity}
	for _, c := range []struct {
		given              string
		methods            []messages.AuthMethod
		defaultTTL, maxTTL messages.Duration
		words              []string // of the error
	}{
		{`"default_ttl":"14m59s"`, slices.Concat(plain, chained), 0, 0, []string{"default_ttl", "14m59s", "15m"}},
		{`"default_ttl":"15m"`, plain, 15 * minute, 12 * hour, nil},
		{`"default_ttl":"15m"`, chained, 15 * minute, hour, nil},
		{`"default_ttl":"15m1s"`, plain, 15*minute + second, 12 * hour, nil},
		{`"max_ttl":"14m59s"`, slices.Concat(plain, chained), 0, 0, []string{"14m59s", "15m"}},
		{`"max_ttl":"15m"`, slices.Concat(plain, chained), 15 * minute, 15 * minute, nil},
		{`"max_ttl":"59m59s"`, slices.Concat(plain, chained), hour - second, hour - second, nil},
		{`"max_ttl":"1h"`, slices.Concat(plain, chained), hour, hour, nil},
		{`"max_ttl":"1h1s"`, plain, hour, hour + second, nil},
		{`"max_ttl":"1h1s"`, chained, 0, 0, []string{"1h1s", "1h", "aws.auth.method"}},
		{`"max_ttl":"11h59m59s"`, plain, hour, 12*hour - second, nil},
		{`"max_ttl":"12h"`, plain, hour, 12 * hour, nil},
		{`"max_ttl":"12h"`, chained, 0, 0, []string{"12h", "1h", "aws.auth.method"}},
		{`"max_ttl":"12h1s"`, slices.Concat(plain, chained), 0, 0, []string{"12h1s", "12h"}},
		{`"default_ttl":"1h"`, chained, hour, hour, nil},
		{`"default_ttl":"1h1s"`, chained, 0, 0, []string{"1h1s", "1h"}},
		{`"default_ttl":"12h"`, plain, 12 * hour, 12 * hour, nil},
		{`"default_ttl":"12h1s"`, plain, 0, 0, []string{"12h1s", "12h"}},
		{`"default_ttl":"1h","max_ttl":"59m59s"`, slices.Concat(plain, chained), 0, 0, []string{"default_ttl", "max_ttl"}},
	} {
		for _, method := range c.methods {
			t.Run(c.given+" "+string(method), func(t *testing.T) {
				s, err := messages.DecodeDynamicSecret([]byte(sessionBody(c.given, `"method":"`+string(method)+`"`)))
				if c.words != nil {
					wantCode(t, err, messages.CodeInvalidSecret, c.words...)
					return
				}
				if err != nil || s.DefaultTTL != c.defaultTTL || s.MaxTTL != c.maxTTL {
					t.Errorf("got %s and %s, %v; want %s and %s", s.DefaultTTL, s.MaxTTL, err, c.defaultTTL, c.maxTTL)
				}
			})
		}
	}
}

// The bounds are those of STS: an IAM user may live shorter and longer.
func TestSessionTimesDoNotBindUsers(t *testing.T) {
	for method := range authMethods {
		if method == "" {
			continue
		}
		s, err := messages.DecodeDynamicSecret([]byte(`{"name":"ci","default_ttl":"1s","max_ttl":"30d","aws":{"auth":{"method":"` + string(method) + `"}}}`))
		if err != nil || s.DefaultTTL != second || s.MaxTTL != 30*24*hour {
			t.Errorf("%s: got %s and %s, %v", method, s.DefaultTTL, s.MaxTTL, err)
		}
	}
}

func TestResolveTTLOfASession(t *testing.T) {
	session := func(defaultTTL, maxTTL messages.Duration) messages.DynamicSecret {
		return messages.DynamicSecret{DefaultTTL: defaultTTL, MaxTTL: maxTTL, AWS: messages.AWS{CredentialType: messages.CredentialAssumeRole}}
	}
	s := session(hour, 12*hour)
	for _, c := range []struct {
		name             string
		secret           messages.DynamicSecret
		asked, min, want messages.Duration
		code             messages.Code
		words            []string
	}{
		{"the default", s, 0, minute, hour, "", nil},
		{"below what AWS gives", s, 15*minute - second, minute, 0, messages.CodeTTLBelowMin, []string{"14m59s", "15m"}},
		{"the least that AWS gives", s, 15 * minute, minute, 15 * minute, "", nil},
		{"a second more", s, 15*minute + second, minute, 15*minute + second, "", nil},
		{"without a minimum of the broker's", s, 15*minute - second, 0, 0, messages.CodeTTLBelowMin, []string{"15m"}},
		{"below the broker's higher minimum", s, 20*minute - second, 20 * minute, 0, messages.CodeTTLBelowMin, []string{"19m59s", "20m"}},
		{"the broker's higher minimum", s, 20 * minute, 20 * minute, 20 * minute, "", nil},
		{"the default, raised to the broker's minimum", s, 0, 2 * hour, 2 * hour, "", nil},
		{"the shortest default", session(15*minute, hour), 0, minute, 15 * minute, "", nil},
		{"a second less than the maximum", s, 12*hour - second, minute, 12*hour - second, "", nil},
		{"the maximum", s, 12 * hour, minute, 12 * hour, "", nil},
		{"above it", s, 12*hour + second, minute, 0, messages.CodeTTLExceedsMax, []string{"12h1s", "12h"}},
		{"a user's may be less", messages.DynamicSecret{DefaultTTL: hour, MaxTTL: hour, AWS: messages.AWS{CredentialType: messages.CredentialIAMUser}}, minute, minute, minute, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.ResolveTTL(c.asked, c.min)
			if c.code != "" {
				wantCode(t, err, c.code, c.words...)
			} else if err != nil {
				t.Error(err)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestDecodeSession(t *testing.T) {
	got, err := messages.DecodeDynamicSecret([]byte(`{
		"name": "ci", "default_ttl": "20m", "max_ttl": "50m", "allow_fixed_username": true,
		"aws": {
			"credential_type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/leased", "external_id": "lessor:7", "deny_on_revoke": true,
			"managed_policies": ["arn:aws:iam::aws:policy/ReadOnlyAccess"], "inline_policy": {"Version": "2012-10-17"},
			"auth": {
				"method": "irsa", "role_arn": "arn:aws:iam::123456789012:role/pod", "assume_role_arn": "arn:aws:iam::123456789012:role/second",
				"external_id": "mine", "access_key_id": "AKIAX", "secret_access_key": "` + theSecret + `"
			}
		}}`))
	want := messages.DynamicSecret{
		Name: "ci", DefaultTTL: 20 * minute, MaxTTL: 50 * minute, UsernameTemplate: messages.DefaultUsernameTemplate, AllowFixedUsername: true,
		AWS: messages.AWS{
			CredentialType: messages.CredentialAssumeRole, Region: "us-east-1",
			RoleARN: "arn:aws:iam::123456789012:role/leased", ExternalID: "lessor:7", DenyOnRevoke: true,
			ManagedPolicies: messages.List{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, InlinePolicy: messages.Policy(`{"Version":"2012-10-17"}`),
			Auth: messages.Auth{
				Method: messages.AuthIRSA, RoleARN: "arn:aws:iam::123456789012:role/pod", AssumeRoleARN: "arn:aws:iam::123456789012:role/second",
				ExternalID: "mine", AccessKeyID: "AKIAX", SecretAccessKey: messages.NewSensitive(theSecret),
			},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestNullIsTheSameAsLeavingASessionsFieldOut(t *testing.T) {
	for _, format := range []string{`{"name":"ci","%s":null}`, `{"name":"ci","aws":{"%s":null}}`, `{"name":"ci","aws":{"auth":{"%s":null}}}`} {
		fields := map[string][]string{
			`{"name":"ci","%s":null}`:                  {"allow_fixed_username"},
			`{"name":"ci","aws":{"%s":null}}`:          {"role_arn", "external_id", "deny_on_revoke"},
			`{"name":"ci","aws":{"auth":{"%s":null}}}`: {"method", "role_arn", "assume_role_arn", "external_id", "access_key_id", "secret_access_key"},
		}[format]
		want := must(messages.DecodeDynamicSecret([]byte(`{"name":"ci"}`)))
		for _, field := range fields {
			body := fmt.Sprintf(format, field)
			if got, err := messages.DecodeDynamicSecret([]byte(body)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, %v", body, got, err)
			}
		}
	}
}

func TestSessionErrorsNameTheField(t *testing.T) {
	for body, words := range map[string][]string{
		`{"name":"ci","allow_fixed_username":"yes"}`:                                 {"allow_fixed_username"},
		`{"name":"ci","aws":{"deny_on_revoke":1}}`:                                   {"deny_on_revoke"},
		`{"name":"ci","aws":{"role_arn":["a"]}}`:                                     {"role_arn"},
		`{"name":"ci","aws":{"external_id":7}}`:                                      {"external_id"},
		`{"name":"ci","aws":{"credential_type":{}}}`:                                 {"credential_type"},
		`{"name":"ci","aws":{"auth":{"role_arn":7}}}`:                                {"auth", "role_arn"},
		`{"name":"ci","aws":{"auth":{"assume_role_arn":7}}}`:                         {"auth", "assume_role_arn"},
		`{"name":"ci","aws":{"auth":{"external_id":[]}}}`:                            {"auth", "external_id"},
		`{"name":"ci","aws":{"auth":{"access_key_id":{}}}}`:                          {"auth", "access_key_id"},
		`{"name":"ci","aws":{"auth":{"secret_access_key":7}}}`:                       {"auth", "secret_access_key"},
		`{"name":"ci","aws":{"auth":{"role_arn":"a","role_arn":"a"}}}`:               {"auth", "role_arn"},
		`{"name":"ci","aws":{"auth":{"external_id":"a","External_ID":"b"}}}`:         {"auth", "External_ID"},
		`{"name":"ci","aws":{"role_arn":"a","deny_on_revoke":true,"role_arn":"b"}}}`: {"role_arn"},
	} {
		s, err := messages.DecodeDynamicSecret([]byte(body))
		wantCode(t, err, messages.CodeInvalidSecret, words...)
		wantSafe(t, err)
		if !reflect.DeepEqual(s, messages.DynamicSecret{}) {
			t.Errorf("%s: an error, and a definition: %+v", body, s)
		}
	}
}

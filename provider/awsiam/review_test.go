package awsiam

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// A person has deleted a lease's user. AWS does not know the path of a user that
// it can't find, so it denies what the broker may do below its path only.
func TestAUserThatAPersonHasDeletedIsGone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*provider.Deletion){
		"ours":              func(d *provider.Deletion) { d.OwnerKnown = true },
		"whose is not sure": func(d *provider.Deletion) { d.OwnerKnown = false },
		"no known key":      func(d *provider.Deletion) { d.AccessKeyID, d.OwnerKnown = "", false },
		"the key alone":     func(d *provider.Deletion) { d.Mode = provider.DeleteKey },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := definitions()["full"]
			w := newLimited(t, s, permissions(t, s, options()))
			key, err := w.account.Create(t.Context(), w.creation(1))
			if err != nil {
				t.Fatal(err)
			}
			w.RemoveUser(userName)
			d := w.deletion(key.AccessKeyID)
			change(&d)
			if err := w.account.Delete(t.Context(), d); err != nil {
				t.Error(err)
			}
			d.Young = true
			expectError(t, w.account.Delete(t.Context(), d), provider.NotVisible, "")
		})
	}
}

// The answer to DeleteUser is lost; the SDK's next attempt finds no user.
func TestALostAnswerToDeleteUserIsNoDenial(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimited(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if err := w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)); err != nil {
		t.Error(err)
	}
	w.SetHook(on("DeleteUser", 1, iamsim.Verdict{Do: iamsim.DropAfter}))
	if trial := w.account.DryRun(t.Context(), w.creation(2)); failed(trial) != nil || trial.Left != provider.LeftNothing {
		t.Errorf("the trial leaves %q: %v", trial.Left, failed(trial))
	}
}

// A role of another account may have a namesake in the broker's own.
func TestATrialTouchesNoNamesake(t *testing.T) {
	t.Parallel()
	b := newSessionBench(t)
	c := sessionLease("alice-x7")
	c.User.Role = strings.Replace(c.User.Role, "123456789012", "210987654321", 1)
	trial := b.account.DryRun(t.Context(), c)
	if b.count("PutRolePolicy")+b.count("DeleteRolePolicy") > 0 {
		t.Errorf("the calls are %v", b.actions())
	}
	i := slices.IndexFunc(trial.Calls, func(c provider.DryRunCall) bool { return c.Op == "PutRolePolicy" })
	if i < 0 || trial.Calls[i].Err == nil || trial.Calls[i].Err.Kind != provider.Rejected {
		t.Errorf("the trial does not tell that a session can't be cut: %+v", trial.Calls)
	}
}

// The chain keeps what it has brought until it expires, too.
func TestTheChainsSessionsAreRefreshedBeforeTheyExpire(t *testing.T) {
	for name, auth := range map[string]messages.Auth{
		"default":     {Method: messages.AuthDefault},
		"assume_role": {Method: messages.AuthAssumeRole, RoleARN: roleTwo, ExternalID: "lessor:2"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthBench(t)
			clear(a.env)
			a.useChainOfPod()
			c := a.as(auth)
			a.identify(c)
			first := a.key()
			a.clock.advance(sessionLife - refreshWindow/2)
			a.identify(c)
			a.refreshed(c)
			a.identify(c)
			// What a role is assumed with is refreshed behind it, and waited for by
			// nobody.
			for end := time.Now().Add(10 * time.Second); a.count("AssumeRoleWithWebIdentity") != 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if a.count("AssumeRoleWithWebIdentity") != 2 || a.key() == first {
				t.Errorf("not refreshed: %v", a.actions())
			}
		})
	}
}

// useChainOfPod gives the SDK's chain the web identity of a pod, and nothing else.
func (a *authBench) useChainOfPod() {
	a.t.Setenv("AWS_ACCESS_KEY_ID", "")
	a.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	a.t.Setenv("AWS_ENDPOINT_URL_STS", a.server.URL)
	file := filepath.Join(a.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(a.WebIdentityToken(issuer, subject, audience, 3*time.Hour)), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.t.Setenv("AWS_ROLE_ARN", rolePod)
	a.t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
}

// What a revocation can't do is no part of a definition.
func TestDenyOnRevokeIsForTheBrokersAccount(t *testing.T) {
	const there = "arn:aws:iam::210987654321:role/x"
	for _, auth := range []messages.Auth{
		{Method: messages.AuthAssumeRole, RoleARN: there},
		{Method: messages.AuthIRSA, RoleARN: there},
		{Method: messages.AuthIRSA, RoleARN: leasedARN, AssumeRoleARN: there},
		{Method: messages.AuthPodIdentity, AssumeRoleARN: there},
	} {
		s := sessionDefinition()
		s.AWS.Auth = auth
		expectWrong(t, s, "aws.deny_on_revoke")
		s.AWS.DenyOnRevoke = false
		if err := New(Options{}).Check(s); err != nil {
			t.Error(err)
		}
	}
	s := sessionDefinition()
	s.AWS.Auth = messages.Auth{Method: messages.AuthIRSA, RoleARN: there, AssumeRoleARN: roleTwo}
	if err := New(Options{}).Check(s); err != nil {
		t.Error(err)
	}
}

// A clock that is slow takes a session for valid that AWS has ended.
func TestASessionThatAWSSaysHasExpiredIsReplaced(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a := newAuthBench(t)
			c := a.as(way.auth)
			a.identify(c)
			first := a.key()
			expired := func(action string) {
				a.SetHook(on(action, 1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "ExpiredToken", Message: "expired"}))
				if _, err := c.Identify(t.Context()); provider.AsError(err).Code != "ExpiredToken" {
					t.Errorf("the error is %v", err)
				}
			}
			a.clock.advance(2 * refreshAgain)
			expired("GetCallerIdentity")
			a.identify(c)
			second := a.key()
			if second == first {
				t.Error("the session is used on")
			}
			expired("GetCallerIdentity") // the answer to a call with the first one
			if a.identify(c); a.key() != second {
				t.Error("a session that came just now is replaced")
			}
			if way.calls < 2 {
				return
			}
			n := a.asked()
			a.clock.advance(2 * sessionLife / 3)
			expired("GetCallerIdentity")
			expired("AssumeRole")
			a.identify(c)
			a.expectAsked(n + 3) // the second role's twice, the first's once
		})
	}
}

// AWS does not see a new user everywhere at once, and denies what is asked about
// it where it does not.
func TestLeastRightsAreEnoughForAUserThatIsNotVisibleYet(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimited(t, s, permissions(t, s, options()))
	w.SetFaults(iamsim.Faults{UserVisibleAfter: 4 * time.Millisecond})
	if _, err := w.account.Create(t.Context(), w.creation(1)); err != nil {
		t.Error(err)
	}
	w.RemoveUser(userName)
	w.SetFaults(iamsim.Faults{UserVisibleAfter: time.Hour})
	_, err := w.account.Create(t.Context(), w.creation(1))
	expectError(t, err, provider.NotVisible, provider.LeftUser)
}

// Names are unique in an account whatever the path: a name may be that of a user
// that the broker may not look at.
func TestANameThatIsTakenElsewhere(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/people/"} {
		s := definitions()["full"]
		w := newLimited(t, s, permissions(t, s, options()))
		w.AddUser(userName, path, nil)
		_, err := w.account.Create(t.Context(), w.creation(1))
		expectError(t, err, provider.NameTaken, provider.LeftNothing)
	}
}

// A denial is no proof that the user is gone.
func TestADeniedDeletionStaysDenied(t *testing.T) {
	t.Parallel()
	s := definitions()["full"]
	w := newLimited(t, s, permissions(t, s, options()))
	key, err := w.account.Create(t.Context(), w.creation(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: user " + userName + " because no",
		"User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/lessor/ci/" + userName + " because no",
		"no words",
	} {
		w.SetHook(on("DeleteAccessKey", -1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: message}))
		expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
	}
	moved := "User: arn:aws:iam::123456789012:user/least is not authorized to perform: iam:DeleteAccessKey on resource: arn:aws:iam::123456789012:user/" + userName
	w.RemoveUser(userName) // from its path
	w.SetHook(on("DeleteAccessKey", -1, iamsim.Verdict{Do: iamsim.Fail, Status: 403, Code: "AccessDenied", Message: moved}))
	expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
	w.SetHook(func(_ context.Context, c iamsim.Call) iamsim.Verdict {
		if c.Action == "DeleteAccessKey" || c.Action == "ListUsers" {
			return refuse(403, "AccessDenied")
		}
		return iamsim.Verdict{}
	})
	expectError(t, w.account.Delete(t.Context(), w.deletion(key.AccessKeyID)), provider.Denied, "")
}

// EKS tags the sessions of pods, and the tags go along: to assume a second role is
// to tag its session.
func TestTheTagsOfAPodGoAlong(t *testing.T) {
	a := newAuthBench(t)
	a.SetTrust("pod", trustPolicy(t, TrustPodIdentity, TrustOptions{ServiceAccount: "lessor/lessor"}))
	c := a.as(ways[4].auth)
	second := TrustOptions{Principal: rolePod, ExternalID: "lessor:2"}
	a.SetTrust("two", trustPolicy(t, TrustAssumeRole, second))
	a.fails(c, provider.Denied, "AssumeRole", "AccessDenied", "AccessDenied")
	a.SetTrust("two", trustPolicy(t, TrustLeasedRole, second))
	a.identify(c)

	a.SetTrust("pod", trustPolicy(t, TrustPodIdentity, TrustOptions{ServiceAccount: "lessor/another"}))
	a.fails(a.as(messages.Auth{Method: messages.AuthPodIdentity}), provider.Denied, "GetCredentials", "AccessDeniedException", "AccessDenied")
}

// A pod leases sessions of a role with no more rights than it needs.
func TestThePermissionsOfAPodAreEnoughForSessions(t *testing.T) {
	a := newAuthBench(t)
	s := definitions()["session"]
	s.AWS.Auth.Method = messages.AuthPodIdentity
	a.AddPolicy(ownPolicy, denyAll)
	a.AddRole("deploy", trustPolicy(t, TrustLeasedRole, TrustOptions{Principal: "arn:aws:iam::123456789012:root"}))
	a.AddRolePolicy("pod", "everything", permissions(t, s, options()))
	w := limited{bench: a.bench, secret: s.WithDefaults()}
	creation := w.creation(1)
	creation.User.ManagedPolicies = nil
	if err := failed(a.as(s.AWS.Auth).DryRun(t.Context(), creation)); err != nil {
		t.Error(err)
	}
	without := s
	without.AWS.Auth.Method = messages.AuthDefault
	a.AddRolePolicy("pod", "everything", permissions(t, without, options()))
	if err := failed(a.as(s.AWS.Auth).DryRun(t.Context(), creation)); !slices.Contains(deniedActions(err), "sts:TagSession") {
		t.Errorf("the error is %v", err)
	}
}

// What Check takes, IAM takes, and the other way round.
func TestCheckAndIAMAgree(t *testing.T) {
	t.Parallel()
	const one = `{"Version":"2012-10-17","Statement":{"Effect":"Allow",%s}}`
	b := newBench(t)
	b.AddUser(userName, "/", nil)
	id, secret := b.AddPrincipal("person")
	client := iam.New(iam.Options{Region: "eu-central-1", BaseEndpoint: &b.server.URL, Credentials: static(id, secret)})
	for statement, good := range map[string]bool{
		`"Action":"s3:Get*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/x}/*"`:                                                         true,
		`"NotAction":["iam:*","organizations:*"],"NotResource":"arn:aws:s3:::b"`:                                                         true,
		`"Sid":"","Action":"*:*","Resource":["arn:aws:s3:::b","arn:aws:dynamodb:*:*:table/${aws:username}"]`:                             true,
		`"Action":"sts:AssumeRole","Resource":"arn:*:iam::*:role/*","Condition":{}`:                                                      true,
		`"Action":"s3:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":[]}}`:                                          true,
		`"Action":"iam:TagUser","Resource":"*","Condition":{"ForAllValues:StringEqualsIfExists":{"aws:TagKeys":["a","b"]}}`:              true,
		`"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["","home/${aws:userid}/*"]}}`:      true,
		`"Action":"ec2:*","Resource":"*","Condition":{"Bool":{"aws:ViaAWSService":true},"NumericLessThan":{"aws:MultiFactorAuthAge":7}}`: true,
		`"Action":"ec2:*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"true"}}`:                                             true,
		`"Action":"ec2:*","Resource":"*","Condition":{"NullIfExists":{"aws:TokenIssueTime":"true"}}`:                                     false,
		`"Action":"ec2:*","Resource":"*","Condition":{"ForAnyValue::StringEquals":{"aws:TagKeys":"x"}}`:                                  false,
		`"Action":"s3:List:Bucket","Resource":"*"`:                                                                                       false,
		`"Action":"s3:*","Resource":"arn:aws:s3::b"`:                                                                                     false,
		`"Action":"s3:*","Resource":""`:                 false,
		`"Action":[["s3:*"]],"Resource":"*"`:            false,
		`"Action":"s3:*","NotAction":[],"Resource":"*"`: false,
		`"Action":"s3:*","Resource":{"a":"b"}`:          false,
	} {
		document := fmt.Sprintf(one, statement)
		s := definition()
		s.AWS.InlinePolicy = messages.Policy(document)
		if err := New(Options{}).Check(s); (err == nil) != good {
			t.Errorf("%s: Check says %v", document, err)
		}
		_, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
			UserName: aws.String(userName), PolicyName: aws.String("x"), PolicyDocument: &document,
		})
		if (err == nil) != good {
			t.Errorf("%s: IAM says %v", document, err)
		}
	}
}

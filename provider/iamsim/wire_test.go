package iamsim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// raw makes a signed IAM call without the SDK's client and returns the response body.
func (w *world) raw(key aws.Credentials, params string) (int, string) {
	w.t.Helper()
	return w.rawScoped(key, "iam", "us-east-1", params)
}

// rawScoped is raw with a valid signature for any service and region.
func (w *world) rawScoped(key aws.Credentials, service, region, params string) (int, string) {
	w.t.Helper()
	body := params + "&Version=2010-05-08"
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, key, r, hex.EncodeToString(hash[:]), service, region, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	response, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(response)
}

func (w *world) rawKey() aws.Credentials {
	id, secret := w.AddPrincipal("raw")
	return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}
}

var requestID = regexp.MustCompile(`<RequestId>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}</RequestId>`)

// Responses have the format of AWS, except for the request id.
func TestResponseFormat(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	key := w.rawKey()
	w.AddUser("alice", "/<p>/", map[string]string{"k": "v"})
	w.AddInlinePolicy("alice", "p", denyAfter)
	have, _ := w.User("alice")
	const open = ` xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`
	const meta = `<ResponseMetadata><RequestId/></ResponseMetadata>`
	user := `<Path>/&lt;p&gt;/</Path><UserName>alice</UserName><UserId>` + have.ID + `</UserId>` +
		`<Arn>arn:aws:iam::123456789012:user/&lt;p&gt;/alice</Arn><CreateDate>2026-03-01T12:00:00Z</CreateDate>`
	for _, test := range []struct {
		params string
		status int
		want   string
	}{
		{"Action=GetUser&UserName=alice", 200, `<GetUserResponse` + open + `<GetUserResult><User>` + user +
			`<Tags><member><Key>k</Key><Value>v</Value></member></Tags></User></GetUserResult>` + meta + `</GetUserResponse>`},
		{"Action=ListUsers&PathPrefix=/<", 200, `<ListUsersResponse` + open + `<ListUsersResult><Users><member>` + user +
			`</member></Users><IsTruncated>false</IsTruncated></ListUsersResult>` + meta + `</ListUsersResponse>`},
		{"Action=GetUserPolicy&UserName=alice&PolicyName=p", 200, `<GetUserPolicyResponse` + open +
			`<GetUserPolicyResult><UserName>alice</UserName><PolicyName>p</PolicyName><PolicyDocument>` +
			strings.ReplaceAll(url.QueryEscape(denyAfter), "+", "%20") + `</PolicyDocument></GetUserPolicyResult>` + meta + `</GetUserPolicyResponse>`},
		{"Action=UntagUser&UserName=alice&TagKeys.member.1=k", 200, `<UntagUserResponse` + open + meta + `</UntagUserResponse>`},
		{"Action=GetUser&UserName=bob", 404, `<ErrorResponse` + open + `<Error><Type>Sender</Type><Code>NoSuchEntity</Code>` +
			`<Message>The user with name bob cannot be found.</Message></Error><RequestId/></ErrorResponse>`},
	} {
		status, got := w.raw(key, test.params)
		if got = requestID.ReplaceAllString(got, "<RequestId/>"); status != test.status || got != test.want {
			t.Errorf("%s: %d\n got %s\nwant %s", test.params, status, got, test.want)
		}
	}
}

// Each call names a user that does not exist, an entity that alice does not have, or no user.
func TestCallsForMissingEntities(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	key := w.rawKey()
	w.AddUser("alice", "/", nil)
	w.AddGroup("readers")
	policy := "&PolicyName=p&PolicyDocument=" + url.QueryEscape(denyAfter)
	const id, arn = "AAAAAAAAAAAAAAAAAAAAAAAA", "arn:aws:iam::aws:policy/ReadOnlyAccess"
	const required, optional = false, true // whether UserName is optional
	for _, test := range []struct {
		call   string
		alice  int // status for alice, an empty user
		itself bool
	}{
		{"GetUser", 200, optional},
		{"TagUser&Tags.member.1.Key=k&Tags.member.1.Value=v", 200, required},
		{"TagUser", 400, required},
		{"UntagUser&TagKeys.member.1=k", 200, required},
		{"UntagUser", 400, required},
		{"UntagUser&TagKeys.member.1=*", 400, required},
		{"ListUserTags", 200, required},
		{"PutUserPolicy" + policy, 200, required},
		{"DeleteUserPolicy&PolicyName=p", 200, required},
		{"DeleteUserPolicy&PolicyName=p", 404, required},
		{"GetUserPolicy&PolicyName=p", 404, required},
		{"GetUserPolicy&PolicyName=/", 400, required},
		{"ListUserPolicies", 200, required},
		{"AttachUserPolicy&PolicyArn=" + arn, 200, required},
		{"DetachUserPolicy&PolicyArn=" + arn, 200, required},
		{"DetachUserPolicy&PolicyArn=" + arn, 404, required},
		{"DetachUserPolicy&PolicyArn=arn", 400, required},
		{"ListAttachedUserPolicies", 200, required},
		{"PutUserPermissionsBoundary&PermissionsBoundary=" + arn, 200, required},
		{"PutUserPermissionsBoundary&PermissionsBoundary=" + arn + "x", 404, required},
		{"DeleteUserPermissionsBoundary", 200, required},
		{"AddUserToGroup&GroupName=readers", 200, required},
		{"RemoveUserFromGroup&GroupName=readers", 200, required},
		{"RemoveUserFromGroup&GroupName=writers", 404, required},
		{"ListGroupsForUser", 200, required},
		{"ListAccessKeys", 200, optional},
		{"UpdateAccessKey&Status=Active&AccessKeyId=" + id, 404, optional},
		{"UpdateAccessKey&Status=Asleep&AccessKeyId=" + id, 400, optional},
		{"DeleteAccessKey&AccessKeyId=" + id, 404, optional},
		{"DeleteAccessKey&AccessKeyId=short", 400, optional},
		{"GetAccessKeyLastUsed&AccessKeyId=" + id, 404, optional},
		{"GetLoginProfile", 404, optional},
		{"DeleteLoginProfile", 404, optional},
		{"ListMFADevices", 200, optional},
		{"DeactivateMFADevice&SerialNumber=" + id, 404, optional},
		{"DeactivateMFADevice&SerialNumber=short", 400, optional},
		{"ListSSHPublicKeys", 200, optional},
		{"DeleteSSHPublicKey&SSHPublicKeyId=" + id, 404, optional},
		{"DeleteSSHPublicKey&SSHPublicKeyId=short", 400, optional},
		{"ListSigningCertificates", 200, optional},
		{"DeleteSigningCertificate&CertificateId=" + id, 404, optional},
		{"ListServiceSpecificCredentials", 200, optional},
		{"DeleteServiceSpecificCredential&ServiceSpecificCredentialId=" + id, 404, optional},
		{"DeleteUser", 200, required},
	} {
		if status, response := w.raw(key, "UserName=alice&Action="+test.call); status != test.alice {
			t.Errorf("%s: %d, want %d: %s", test.call, status, test.alice, response)
		}
		if test.alice != 200 {
			continue
		}
		if status, response := w.raw(key, "UserName=unknown&Action="+test.call); status != 404 || !strings.Contains(response, "with name unknown") {
			t.Errorf("%s for an unknown user: %d %s", test.call, status, response)
		}
		want := 400
		if test.itself {
			want = 200
		}
		if status, response := w.raw(key, "Action="+test.call); status != want {
			t.Errorf("%s without UserName: %d, want %d: %s", test.call, status, want, response)
		}
	}
}

// The signature is valid for another service or region.
func TestSignatureScopeIsVerified(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	key := w.rawKey()
	for _, test := range []struct {
		service, region string
		status          int
		message         string
	}{
		{"iam", "us-east-1", 200, "<UserName>raw</UserName>"},
		{"iam", "eu-central-2", 200, "<UserName>raw</UserName>"},
		{"sts", "us-east-1", 403, "Credential should be scoped to correct service"},
		{"iam", "cn-north-1", 403, "Credential should be scoped to a valid region"},
		{"iam", "us-gov-west-1", 403, "Credential should be scoped to a valid region"},
		{"iam", "moon", 403, "Credential should be scoped to a valid region"},
	} {
		if status, response := w.rawScoped(key, test.service, test.region, "Action=GetUser"); status != test.status || !strings.Contains(response, test.message) {
			t.Errorf("%s in %s: %d %s", test.service, test.region, status, response)
		}
	}
}

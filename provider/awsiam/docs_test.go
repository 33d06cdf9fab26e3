package awsiam

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
	"github.com/lessorhq/lessor/provider/iamsim"
)

// printed returns the policies, or the statements of them, that docs/aws.md shows.
func printed(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/secrets/ci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		t.Fatal(err)
	}
	users, err := messages.DecodeDynamicSecret(data)
	if err != nil {
		t.Fatal(err)
	}
	withKey, session := users, messages.DynamicSecret{Name: "deploy", AWS: messages.AWS{
		CredentialType: messages.CredentialAssumeRole, RoleARN: leasedRoleARN, ExternalID: "my-project", DenyOnRevoke: true,
	}}
	withKey.AWS.Auth = messages.Auth{Method: messages.AuthAccessKey}
	o := definition.PermissionOptions{Account: accountID}
	return []string{
		permissions(t, users, o),
		lastStatement(permissions(t, withKey, o)),
		trustPolicy(t, definition.TrustAssumeRole, definition.TrustOptions{Principal: "arn:aws:iam::123456789012:user/lessor-base", ExternalID: "my-project"}),
		trustPolicy(t, definition.TrustIRSA, definition.TrustOptions{Account: accountID, OIDCProvider: "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE", ServiceAccount: "lessor/broker"}),
		trustPolicy(t, definition.TrustPodIdentity, definition.TrustOptions{ServiceAccount: "lessor/broker"}),
		permissions(t, session, o),
		trustPolicy(t, definition.TrustLeasedRole, definition.TrustOptions{Principal: "arn:aws:iam::123456789012:role/lessor", ExternalID: "my-project"}),
	}
}

// lastStatement returns the last statement of a document, without its indentation.
func lastStatement(document string) string {
	s := document[strings.LastIndex(document, "\n    {")+1 : strings.LastIndex(document, "\n  ]")]
	return strings.ReplaceAll(s[4:], "\n    ", "\n")
}

func TestGuideShowsTheGeneratedPolicies(t *testing.T) {
	guide, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)\n```").FindAllStringSubmatch(string(guide), -1) {
		shown = append(shown, m[1])
	}
	want := printed(t)
	if len(shown) != len(want) {
		t.Fatalf("there are %d documents, want %d", len(shown), len(want))
	}
	for i := range want {
		if shown[i] != want[i] {
			t.Errorf("document %d of docs/aws.md differs from the generated policy:\n%s", i+1, want[i])
		}
	}
	// Policies written by hand.
	hand := regexp.MustCompile("(?s)<<'EOF'\n(.*?)\nEOF").FindAllStringSubmatch(string(guide), -1)
	if len(hand) != 2 {
		t.Errorf("there are %d policies written by hand", len(hand))
	}
	for _, m := range hand {
		iamsim.New(iamsim.Options{}).AddPolicy(boundary, m[1]) // panics if it is malformed
	}
}

// A user with the boundary of docs/aws.md cannot remove its Deny, whatever its policies
// allow.
func TestBoundaryOfTheGuideProtectsTheDeny(t *testing.T) {
	guide, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	b := newFixture(t)
	b.AddPolicy(boundary, regexp.MustCompile("(?s)<<'EOF'\n(.*?)\nEOF").FindStringSubmatch(string(guide))[1])
	key := b.create()
	b.AddInlinePolicy(userName, "theirs", string(awstest.Allow(`"*"`)))
	for action, want := range map[string]bool{
		"s3:GetObject": true, "iam:PutUserPolicy": false, "iam:CreateAccessKey": false, "sts:AssumeRole": false, "ec2:RunInstances": false,
	} {
		if got, err := b.Allowed(key.AccessKeyID, action, "*"); got != want || err != nil {
			t.Errorf("%s: %t, %v", action, got, err)
		}
	}
	if !slices.Contains(b.actions(), "CreateUser") {
		t.Error("no user was created")
	}
}

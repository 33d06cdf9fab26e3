package definition

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

const clusterIssuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"

func TestTrustForAssumeRoleIsForOnePrincipalAndExternalID(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	clientOf := func(name string) *sts.Client {
		return sts.New(sts.Options{Region: "eu-central-1", BaseEndpoint: &b.url, Credentials: b.keyOf(name, denyOne)})
	}
	base, other := clientOf("base"), clientOf("other")
	principal := "arn:aws:iam::123456789012:user/base"
	with := b.AddRole("with", trustPolicy(t, TrustAssumeRole, TrustOptions{Principal: principal, ExternalID: "my-project"}))
	none := b.AddRole("none", trustPolicy(t, TrustAssumeRole, TrustOptions{Principal: principal}))
	for _, c := range []struct {
		client         *sts.Client
		role, external string
		trusted        bool
	}{
		{base, with, "my-project", true},
		{base, with, "", false},
		{base, with, "my-projec", false},
		{base, none, "", true},
		{base, none, "anything", true},
		{other, with, "my-project", false},
		{other, none, "", false},
	} {
		_, err := c.client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: &c.role, RoleSessionName: aws.String("lessor"), ExternalId: externalID(c.external),
		})
		if c.trusted && err != nil || !c.trusted && codeOf(err) != "AccessDenied" {
			t.Errorf("%s with %q: %v", c.role, c.external, err)
		}
	}
}

func externalID(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

func TestTrustForIRSAIsForOneServiceAccountAndAudience(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.AddOIDCProvider(clusterIssuer, "sts.amazonaws.com", "another")
	const other = "https://oidc.eks.eu-central-1.amazonaws.com/id/OTHER"
	b.AddOIDCProvider(other, "sts.amazonaws.com")
	role := b.AddRole("lessor", trustPolicy(t, TrustIRSA, TrustOptions{Account: awstest.AccountID, OIDCProvider: clusterIssuer, ServiceAccount: "lessor/broker"}))
	client := sts.New(sts.Options{Region: "eu-central-1", BaseEndpoint: &b.url})
	for _, c := range []struct {
		issuer, subject, audience string
		trusted                   bool
	}{
		{clusterIssuer, "system:serviceaccount:lessor:broker", "sts.amazonaws.com", true},
		{clusterIssuer, "system:serviceaccount:lessor:other", "sts.amazonaws.com", false},
		{clusterIssuer, "system:serviceaccount:default:broker", "sts.amazonaws.com", false},
		{clusterIssuer, "system:serviceaccount:lessor:broker", "another", false},
		{other, "system:serviceaccount:lessor:broker", "sts.amazonaws.com", false},
	} {
		token := b.WebIdentityToken(c.issuer, c.subject, c.audience, time.Hour)
		_, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: &role, RoleSessionName: aws.String("lessor"), WebIdentityToken: &token,
		})
		if c.trusted && err != nil || !c.trusted && codeOf(err) != "AccessDenied" {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// The simulator has no service that assumes roles, as EKS does. It accepts the policy.
func TestTrustForPodIdentity(t *testing.T) {
	for _, account := range []string{"", "lessor/broker"} {
		document := trustPolicy(t, TrustPodIdentity, TrustOptions{ServiceAccount: account})
		newFixture(t).AddRole("lessor", document)
		for _, word := range []string{`"pods.eks.amazonaws.com"`, `"sts:AssumeRole"`, `"sts:TagSession"`} {
			if !strings.Contains(document, word) {
				t.Errorf("%s is not in %s", word, document)
			}
		}
		if strings.Contains(document, `"aws:RequestTag/kubernetes-namespace": "lessor"`) != (account != "") {
			t.Error(document)
		}
	}
}

func TestTrustRefusesInvalidOptions(t *testing.T) {
	irsa := TrustOptions{Account: awstest.AccountID, OIDCProvider: clusterIssuer, ServiceAccount: "lessor/broker"}
	for i, c := range []struct {
		option string
		kind   TrustKind
		change func(*TrustOptions)
	}{
		{"trust", "unknown", nil},
		{"principal", TrustAssumeRole, func(o *TrustOptions) { o.Principal = "" }},
		{"principal", TrustAssumeRole, func(o *TrustOptions) { o.Principal = "*" }},
		{"principal", TrustAssumeRole, func(o *TrustOptions) { o.Principal = "arn:aws:iam::123456789012:user/*/x" }},
		{"principal", TrustAssumeRole, func(o *TrustOptions) { o.Principal = "arn:aws:sts::123456789012:assumed-role/lessor/i-1" }},
		{"principal", TrustLeasedRole, func(o *TrustOptions) { o.Principal = "arn:aws:iam::123456789012:group/x" }},
		{"external-id", TrustAssumeRole, func(o *TrustOptions) { o.Principal, o.ExternalID = "arn:aws:iam::123456789012:root", "a*" }},
		{"account", TrustIRSA, func(o *TrustOptions) { o.Account = "" }},
		{"region", TrustIRSA, func(o *TrustOptions) { o.Region = "Frankfurt" }},
		{"oidc-provider", TrustIRSA, func(o *TrustOptions) { o.OIDCProvider = "" }},
		{"oidc-provider", TrustIRSA, func(o *TrustOptions) { o.OIDCProvider = "http://x" }},
		{"oidc-provider", TrustIRSA, func(o *TrustOptions) { o.OIDCProvider = "x/*" }},
		{"service-account", TrustIRSA, func(o *TrustOptions) { o.ServiceAccount = "" }},
		{"service-account", TrustIRSA, func(o *TrustOptions) { o.ServiceAccount = "lessor" }},
		{"service-account", TrustIRSA, func(o *TrustOptions) { o.ServiceAccount = "lessor/*" }},
		{"service-account", TrustIRSA, func(o *TrustOptions) { o.ServiceAccount = "lessor/a:b" }},
		{"service-account", TrustPodIdentity, func(o *TrustOptions) { o.ServiceAccount = "Lessor/broker" }},
	} {
		o := irsa
		if c.change != nil {
			c.change(&o)
		}
		_, err := Trust(c.kind, o)
		if err == nil || !strings.HasPrefix(messages.AsError(err).Message, c.option+": ") {
			t.Errorf("%s: %v, want one about %s", fmt.Sprint(i), err, c.option)
		}
	}
}

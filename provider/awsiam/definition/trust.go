package definition

import (
	"encoding/json"
	"regexp"
	"strings"
)

// TrustKind is a way in which the broker gets the session of a role.
type TrustKind string

// The kinds of trust.
const (
	TrustAssumeRole  TrustKind = "assume-role"  // another principal assumes the role
	TrustIRSA        TrustKind = "irsa"         // a service account's web identity token on EKS
	TrustPodIdentity TrustKind = "pod-identity" // EKS Pod Identity
	// TrustLeasedRole is for a role whose sessions are tagged: one of which sessions are
	// leased, or the second role of a pod with EKS Pod Identity.
	TrustLeasedRole TrustKind = "leased-role"
)

// TrustOptions states the principal that a role trusts.
type TrustOptions struct {
	// Principal is the ARN of the user or role that assumes the role, or of the root of
	// an account: then every principal there that has the permission. For assume-role
	// and leased-role.
	Principal string
	// ExternalID is the external id that the principal must send; "" requires none. For
	// assume-role and leased-role.
	ExternalID string

	// Account is the number of the account with the OIDC provider, and Region is one of
	// its regions; "" means us-east-1. For irsa.
	Account, Region string
	// OIDCProvider is the cluster's issuer, with or without https://. For irsa.
	OIDCProvider string
	// ServiceAccount is the broker's service account, as namespace/name. For irsa and
	// pod-identity; for the latter, "" means every service account that the role is
	// associated with.
	ServiceAccount string
}

var (
	trustedARN       = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[0-9]{12}:(root|(user|role)/([!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64})$`)
	sessionARN       = regexp.MustCompile(`^arn:[a-z0-9-]+:sts::[0-9]{12}:assumed-role/`)
	providerGrammar  = regexp.MustCompile(`^[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*$`)
	namespaceGrammar = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accountGrammar   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

// Trust returns the trust policy of a role that the broker uses. It returns a
// [messages.Error] that names the option.
func Trust(kind TrustKind, o TrustOptions) (json.RawMessage, error) {
	var s policyStatement
	var err error
	switch kind {
	case TrustAssumeRole, TrustLeasedRole:
		s, err = trustPrincipal(o)
	case TrustIRSA:
		s, err = trustWebIdentity(o)
	case TrustPodIdentity:
		s, err = trustPods(o)
	default:
		err = wrongOption("trust", "%.40q is neither %s, %s, %s nor %s", kind, TrustAssumeRole, TrustIRSA, TrustPodIdentity, TrustLeasedRole)
	}
	if err != nil {
		return nil, err
	}
	s.Sid, s.Effect = "Lessor", "Allow"
	d := policyDocument{Version: "2012-10-17", Statement: []policyStatement{s}}
	if kind == TrustLeasedRole {
		// IAM knows no external id for sts:TagSession, which is useless by itself.
		d.Statement = append(d.Statement, policyStatement{
			Sid: "LessorTags", Effect: "Allow", Principal: s.Principal, Action: oneOrMore{"sts:TagSession"},
		})
	}
	return d.print()
}

func trustPrincipal(o TrustOptions) (policyStatement, error) {
	if sessionARN.MatchString(o.Principal) {
		// A policy may trust a session, but the next session has another name.
		return policyStatement{}, wrongOption("principal", "%.200s is a session; give the ARN of its role, with the role's path", o.Principal)
	}
	if !trustedARN.MatchString(o.Principal) || checkLiteral("", o.Principal) != nil {
		return policyStatement{}, wrongOption("principal", "%.200q is not the ARN of a user or a role, such as arn:aws:iam::123456789012:user/lessor", o.Principal)
	}
	c := conditions{}
	if o.ExternalID != "" {
		if !isExternalID(o.ExternalID) {
			return policyStatement{}, wrongOption("external-id", "must have 2 to 1224 letters, digits and _+=,.@:/-")
		}
		c.set("StringEquals", "sts:ExternalId", o.ExternalID)
	}
	return policyStatement{Principal: map[string]string{"AWS": o.Principal}, Action: oneOrMore{"sts:AssumeRole"}, Condition: c}, nil
}

// trustWebIdentity requires subject and audience. Without the subject, every pod of the
// cluster could assume the role.
func trustWebIdentity(o TrustOptions) (policyStatement, error) {
	if err := checkAccount(o.Account); err != nil {
		return policyStatement{}, err
	}
	if o.Region != "" && !regionGrammar.MatchString(o.Region) {
		return policyStatement{}, wrongOption("region", "%.40q is not a region, such as eu-central-1", o.Region)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(o.OIDCProvider, "https://"), "/")
	if !providerGrammar.MatchString(host) {
		return policyStatement{}, wrongOption("oidc-provider", "%.80q is not the issuer of a cluster, such as oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF", o.OIDCProvider)
	}
	namespace, name, err := serviceAccount(o.ServiceAccount)
	if err != nil {
		return policyStatement{}, err
	}
	c := conditions{}
	c.set("StringEquals", host+":aud", "sts.amazonaws.com")
	c.set("StringEquals", host+":sub", "system:serviceaccount:"+namespace+":"+name)
	return policyStatement{
		Principal: map[string]string{"Federated": "arn:" + PartitionOf(o.Region) + ":iam::" + o.Account + ":oidc-provider/" + host},
		Action:    oneOrMore{"sts:AssumeRoleWithWebIdentity"},
		Condition: c,
	}, nil
}

// trustPods trusts EKS, which tags the sessions with the pod's origin and needs the
// permission for that.
func trustPods(o TrustOptions) (policyStatement, error) {
	c := conditions{}
	if o.ServiceAccount != "" {
		namespace, name, err := serviceAccount(o.ServiceAccount)
		if err != nil {
			return policyStatement{}, err
		}
		c.set("StringEquals", "aws:RequestTag/kubernetes-namespace", namespace)
		c.set("StringEquals", "aws:RequestTag/kubernetes-service-account", name)
	}
	return policyStatement{
		Principal: map[string]string{"Service": "pods.eks.amazonaws.com"},
		Action:    oneOrMore{"sts:AssumeRole", "sts:TagSession"},
		Condition: c,
	}, nil
}

func serviceAccount(s string) (namespace, name string, err error) {
	namespace, name, _ = strings.Cut(s, "/")
	if !namespaceGrammar.MatchString(namespace) || !accountGrammar.MatchString(name) {
		return "", "", wrongOption("service-account", "%.80q is not a service account of the form namespace/name", s)
	}
	return namespace, name, nil
}

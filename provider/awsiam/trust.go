package awsiam

import (
	"encoding/json"
	"regexp"
	"strings"
)

// TrustKind is a way in which the broker comes by its role.
type TrustKind string

// The kinds of trust.
const (
	TrustAssumeRole  TrustKind = "assume-role"  // it assumes the role as somebody else
	TrustIRSA        TrustKind = "irsa"         // by the web identity token of a service account on EKS
	TrustPodIdentity TrustKind = "pod-identity" // by EKS Pod Identity
	// TrustLeasedRole is of another role, whose sessions are tagged: that of which
	// sessions are leased, or the second role of a pod with EKS Pod Identity.
	TrustLeasedRole TrustKind = "leased-role"
)

// TrustOptions say whom a role is to trust.
type TrustOptions struct {
	// Principal is the ARN of the user or the role that assumes the role, or of the
	// root of its account: everybody there who is allowed to. For assume-role and
	// leased-role.
	Principal string
	// ExternalID is what it must send; "" is nothing. For the same.
	ExternalID string

	// Account is the number of the account that knows the OIDC provider, and Region
	// one of its regions; "" is us-east-1. For irsa.
	Account, Region string
	// OIDCProvider is the cluster's issuer, with https:// or without. For irsa.
	OIDCProvider string
	// ServiceAccount is the broker's, as namespace/name. For irsa; also for
	// pod-identity, where "" is every service account that the role is associated
	// with.
	ServiceAccount string
}

var (
	trustedARN       = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[0-9]{12}:(root|(user|role)/([!-~]+/)?[A-Za-z0-9_+=,.@-]{1,64})$`)
	sessionARN       = regexp.MustCompile(`^arn:[a-z0-9-]+:sts::[0-9]{12}:assumed-role/`)
	providerGrammar  = regexp.MustCompile(`^[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*$`)
	namespaceGrammar = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	accountGrammar   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

// Trust is the trust policy of the role that the broker uses. The error is a
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
		// The right to tag knows no external id, and is of no use without the other.
		d.Statement = append(d.Statement, policyStatement{
			Sid: "LessorTags", Effect: "Allow", Principal: s.Principal, Action: oneOrMore{"sts:TagSession"},
		})
	}
	return d.print()
}

func trustPrincipal(o TrustOptions) (policyStatement, error) {
	if sessionARN.MatchString(o.Principal) {
		// A policy may trust it, but the next session has another name.
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

// trustWebIdentity asks for subject and audience: without the subject every pod
// of the cluster could be the broker.
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
		Principal: map[string]string{"Federated": "arn:" + partitionOf(o.Region) + ":iam::" + o.Account + ":oidc-provider/" + host},
		Action:    oneOrMore{"sts:AssumeRoleWithWebIdentity"},
		Condition: c,
	}, nil
}

// trustPods trusts EKS. It tags the sessions with where the pod is from, and needs
// the right to do so.
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

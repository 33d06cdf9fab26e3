package definition

import (
	"regexp"
	"strings"

	"github.com/lessorhq/lessor/messages"
)

var (
	regionGrammar = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$`)
	// arn:<partition>:iam::<account or aws>:policy/<path/><name>
	policyARN = regexp.MustCompile(`^arn:([a-z0-9-]+):iam::([0-9]{12}|aws):policy(/(?:[!-~]+/)?)([^/]+)$`)
)

// partitions are AWS's partitions by the prefix of their regions. The regions of the
// partition "aws" have no common prefix.
var partitions = []struct{ region, partition string }{
	{"cn-", "aws-cn"},
	{"us-gov-", "aws-us-gov"},
	{"us-isob-", "aws-iso-b"},
	{"us-isof-", "aws-iso-f"},
	{"eu-isoe-", "aws-iso-e"},
	{"us-iso-", "aws-iso"},
	{"eusc-", "aws-eusc"},
}

// PartitionOf returns the partition of a region, such as "aws" or "aws-cn".
func PartitionOf(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.region) {
			return p.partition
		}
	}
	return "aws"
}

func checkRegion(region string) error {
	if !regionGrammar.MatchString(region) {
		return wrong("aws.region", "%.40q is not a region, such as eu-central-1", region)
	}
	return nil
}

func checkBoundary(arn, partition string) error {
	if arn == "" {
		return nil
	}
	return checkPolicyARN("aws.permissions_boundary", arn, partition)
}

func checkManaged(arns []string, partition string) error {
	if len(arns) > maxManaged {
		return wrong("aws.managed_policies", "has %d entries; the limit is %d where AWS has raised it, and %d otherwise", len(arns), maxManaged, defaultManaged)
	}
	seen := map[string]bool{}
	for i, arn := range arns {
		field := index("aws.managed_policies", i)
		if err := checkPolicyARN(field, arn, partition); err != nil {
			return err
		}
		if seen[strings.ToLower(arn)] {
			return wrong(field, "%s is listed twice; IAM ignores case", arn)
		}
		seen[strings.ToLower(arn)] = true
	}
	return nil
}

func checkPolicyARN(field, arn, partition string) error {
	if len(arn) > maxARN {
		return wrong(field, "has %d characters, the limit is %d", len(arn), maxARN)
	}
	m := policyARN.FindStringSubmatch(arn)
	if m == nil {
		return wrong(field, "%.80q is not the ARN of a policy, such as arn:%s:iam::123456789012:policy/name", arn, partition)
	}
	if m[1] != partition {
		return wrong(field, "is in the partition %.20q, but the region is in %s", m[1], partition)
	}
	if m[2] == "aws" && strings.HasPrefix(m[3], "/aws-service-role/") {
		return wrong(field, "is a policy of a service-linked role, which cannot be attached to users")
	}
	if len(m[3]) > maxPath {
		return wrong(field, "its path has %d characters, the limit is %d", len(m[3]), maxPath)
	}
	if err := checkName(field, m[4]); err != nil {
		return wrong(field, "its name: %s", strings.TrimPrefix(messages.AsError(err).Message, field+": "))
	}
	return nil
}

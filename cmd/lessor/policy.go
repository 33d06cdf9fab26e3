package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lessorhq/lessor/cmd/internal/cli"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/definition"
)

// policyCmd is the command that prints the IAM policies of the broker.
type policyCmd struct {
	operator
	file, account, installation      string
	trust, principal, externalID     string
	oidcProvider, podsServiceAccount string
}

// The values of --trust.
const (
	assumeRole  = string(definition.TrustAssumeRole)
	irsa        = string(definition.TrustIRSA)
	podIdentity = string(definition.TrustPodIdentity)
	leasedRole  = string(definition.TrustLeasedRole)
)

// policyFlags has the values of --trust with which a flag can be used; "" is without
// --trust. Other flags can be used with any value.
var policyFlags = map[string][]string{
	"installation":    {""},
	"principal":       {"", assumeRole, leasedRole},
	"external-id":     {assumeRole, leasedRole},
	"oidc-provider":   {irsa},
	"service-account": {irsa, podIdentity},
}

// accountNumber matches the number of an AWS account.
var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

func newPolicyCmd(env *cli.Environment) *cobra.Command {
	var p policyCmd
	cmd := &cobra.Command{
		Use:     "policy [NAME]",
		Short:   "Print the IAM policy that the broker needs",
		GroupID: operators,
		Long: `Print the least IAM policy that the broker needs for a dynamic secret: a stored one by its
name, or one in a file (--file), which works without a broker.

With --trust, print the trust policy of the role that the broker uses: a role that it
assumes (assume-role), a role for a service account on EKS (irsa), or for EKS Pod
Identity (pod-identity); or the trust policy of a role whose sessions are leased
(leased-role).`,
		Example: `  lessor policy ci > ci-policy.json
  lessor policy --file ci.yaml --account 123456789012

  # trust policies of the broker's role
  lessor policy --trust assume-role --principal arn:aws:iam::123456789012:user/lessor --external-id my-project
  lessor policy --trust irsa --account 123456789012 --oidc-provider oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE --service-account lessor/broker
  lessor policy --trust pod-identity --service-account lessor/broker

  # trust policy of a role whose sessions are leased
  lessor policy deploy --trust leased-role --principal arn:aws:iam::123456789012:role/lessor`,
		Args: cli.OptionalArgument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			if err := p.checkUse(cmd, env, name, len(args) > 0); err != nil {
				return err
			}
			return p.run(cmd.Context(), env, name)
		},
	}
	p.Connection.Register(cmd)
	f := cmd.Flags()
	f.StringVar(&p.file, "file", "", "`file` with the definition, in YAML or JSON; - is the standard input")
	f.StringVar(&p.account, "account", "", "`number` of the AWS account (default: the account that the broker knows)")
	f.StringVar(&p.installation, "installation", "", "only for users of the installation with this `id` (default: the broker's installation, with NAME)")
	f.StringVar(&p.trust, "trust", "", "print the trust policy for this `way` of authenticating, assume-role, irsa or pod-identity, or that of a leased-role")
	f.StringVar(&p.principal, "principal", "", "`ARN` of the principal that assumes the role; without --trust: of the broker's user, for the method access_key")
	f.StringVar(&p.externalID, "external-id", "", "external `id` that is required (default: that of the definition or the broker)")
	f.StringVar(&p.oidcProvider, "oidc-provider", "", "`host` and path of the cluster's issuer, for irsa")
	f.StringVar(&p.podsServiceAccount, "service-account", "", "`namespace/name` of the broker's service account, for irsa and pod-identity")
	return cmd
}

// checkUse returns a usage error for flags that contradict each other.
func (p *policyCmd) checkUse(cmd *cobra.Command, env *cli.Environment, name string, named bool) error {
	if cmd.Flags().Changed("trust") && !slices.Contains([]string{assumeRole, irsa, podIdentity, leasedRole}, p.trust) {
		return cli.Usagef("--trust is %q; it may be assume-role, irsa, pod-identity or leased-role", p.trust)
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if with, some := policyFlags[f.Name]; err == nil && some && !slices.Contains(with, p.trust) {
			err = cli.Usagef("--%s can't be used %s", f.Name, p.use())
		}
	})
	switch {
	case err != nil:
		return err
	case named && p.file != "":
		return cli.Usagef("NAME and --file exclude each other")
	case p.trust == "" && !named && p.file == "":
		return cli.Usagef("the dynamic secret is missing; give its NAME, or the --file with its definition")
	case p.trust == "" && p.file != "" && p.account == "":
		return cli.Usagef("--file needs --account, the number of the AWS account")
	case p.account != "" && !accountNumber.MatchString(p.account):
		return cli.Usagef("--account is %q; it must be the number of an account, 12 digits", p.account)
	case named:
		return p.checkNamed(env, name)
	}
	return nil
}

// use returns how the command is used, for errors.
func (p *policyCmd) use() string {
	if p.trust == "" {
		return "without --trust"
	}
	return "with --trust " + p.trust
}

// run prints the policy.
func (p *policyCmd) run(ctx context.Context, env *cli.Environment, name string) error {
	s, err := p.definition(ctx, env, name)
	if err != nil {
		return err
	}
	account := cmp.Or(p.account, s.Connection.Account)
	var document json.RawMessage
	switch {
	case p.trust != "":
		document, err = p.trustOf(s, account)
	case account == "":
		return fmt.Errorf("the broker does not know the AWS account of %s yet; name it with --account, or run: lessor secret check %s", name, name)
	default:
		document, err = p.permissionsOf(s, account)
	}
	if err != nil {
		return p.wrongFlag(err)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n", strings.TrimSpace(string(document)))
	return err
}

// definition returns the definition from the file or from the broker, or none if neither is
// named.
func (p *policyCmd) definition(ctx context.Context, env *cli.Environment, name string) (messages.SecretInfo, error) {
	switch {
	case p.file != "":
		d, err := readDefinition(env, p.file)
		return messages.SecretInfo{Definition: d}, err
	case name != "":
		return p.secret(ctx, env, name)
	}
	return messages.SecretInfo{}, nil
}

// permissionsOf returns the policy with the permissions that a definition needs.
func (p *policyCmd) permissionsOf(s messages.SecretInfo, account string) (json.RawMessage, error) {
	o := definition.PermissionOptions{Account: account, Installation: cmp.Or(p.installation, s.Installation), Principal: p.principal}
	if own := s.Connection.ARN; o.Principal == "" && account == s.Connection.Account && strings.Contains(own, ":user/") {
		o.Principal = own
	}
	return definition.Permissions(s.Definition, o)
}

// trustOf returns the trust policy that --trust chooses.
func (p *policyCmd) trustOf(s messages.SecretInfo, account string) (json.RawMessage, error) {
	external := cmp.Or(s.Connection.ExternalID, s.Definition.AWS.Auth.ExternalID)
	if p.trust == leasedRole {
		external = s.Definition.AWS.ExternalID
	}
	return definition.Trust(definition.TrustKind(p.trust), definition.TrustOptions{
		Principal: p.principal, ExternalID: cmp.Or(p.externalID, external),
		Account: account, Region: s.Definition.AWS.Region,
		OIDCProvider: p.oidcProvider, ServiceAccount: p.podsServiceAccount,
	})
}

// wrongFlag returns a usage error for an error about an option, whose name is that of its
// flag.
func (p *policyCmd) wrongFlag(err error) error {
	var e *messages.Error
	if errors.As(err, &e) && e.Code == messages.CodeInvalidRequest {
		return cli.Usagef("--%s", e.Message)
	}
	return cli.ForOperator(err)
}

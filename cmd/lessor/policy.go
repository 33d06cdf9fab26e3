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

// policyCmd is the command that prints the broker's own policies.
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

// policyFlags are the flags that do not go with every value of --trust, and those
// with which they go; "" is without it.
var policyFlags = map[string][]string{
	"installation":    {""},
	"principal":       {"", assumeRole, leasedRole},
	"external-id":     {assumeRole, leasedRole},
	"oidc-provider":   {irsa},
	"service-account": {irsa, podIdentity},
}

// accountNumber is the number of an AWS account.
var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

func newPolicyCmd(env *cli.Environment) *cobra.Command {
	var p policyCmd
	cmd := &cobra.Command{
		Use:     "policy [NAME]",
		Short:   "Print the IAM policy that the broker needs",
		GroupID: operators,
		Long: `Print the IAM policy that the broker needs for a dynamic secret, and nothing beyond it:
one that is stored, by its name, or one in a file (--file), for which no broker has to
run.

With --trust, print the trust policy of the role that the broker uses: to be assumed
(assume-role), to be taken by a service account on EKS (irsa), or by EKS Pod Identity
(pod-identity); or that of a role whose sessions are leased (leased-role).`,
		Example: `  lessor policy ci > ci-policy.json
  lessor policy --file ci.yaml --account 123456789012

  # whom the broker's role trusts
  lessor policy --trust assume-role --principal arn:aws:iam::123456789012:user/lessor --external-id my-project
  lessor policy --trust irsa --account 123456789012 --oidc-provider oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE --service-account lessor/broker
  lessor policy --trust pod-identity --service-account lessor/broker

  # whom a role trusts whose sessions are leased
  lessor policy deploy --trust leased-role --principal arn:aws:iam::123456789012:role/lessor`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Usagef(`policy takes one NAME, and got %d; see "%s --help"`, len(args), cmd.CommandPath())
			}
			return nil
		},
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
	f.StringVar(&p.account, "account", "", "`number` of the AWS account (default: the one that the broker knows)")
	f.StringVar(&p.installation, "installation", "", "only for users of the installation with this `id` (default: the broker's, if it is asked)")
	f.StringVar(&p.trust, "trust", "", "print the trust policy for this `way` of authenticating, assume-role, irsa or pod-identity, or that of a leased-role")
	f.StringVar(&p.principal, "principal", "", "`ARN` of who assumes the role; without --trust: of the broker's user, for the method access_key")
	f.StringVar(&p.externalID, "external-id", "", "`id` that must come with it (default: the one that the definition has, or the broker sends)")
	f.StringVar(&p.oidcProvider, "oidc-provider", "", "`host` and path of the cluster's issuer, for irsa")
	f.StringVar(&p.podsServiceAccount, "service-account", "", "`namespace/name` of the broker's service account, for irsa and pod-identity")
	return cmd
}

// checkUse refuses what makes no sense together.
func (p *policyCmd) checkUse(cmd *cobra.Command, env *cli.Environment, name string, named bool) error {
	if cmd.Flags().Changed("trust") && !slices.Contains([]string{assumeRole, irsa, podIdentity, leasedRole}, p.trust) {
		return cli.Usagef("--trust is %q; it may be assume-role, irsa, pod-identity or leased-role", p.trust)
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if with, some := policyFlags[f.Name]; err == nil && some && !slices.Contains(with, p.trust) {
			err = cli.Usagef("--%s does not go %s", f.Name, p.use())
		}
	})
	switch {
	case err != nil:
		return err
	case named && p.file != "":
		return cli.Usagef("NAME and --file exclude each other")
	case p.trust == "" && !named && p.file == "":
		return cli.Usagef("which dynamic secret is not said; give its NAME, or the --file with its definition")
	case p.trust == "" && p.file != "" && p.account == "":
		return cli.Usagef("--file needs --account, the number of the AWS account")
	case p.account != "" && !accountNumber.MatchString(p.account):
		return cli.Usagef("--account is %q; it must be the number of an account, 12 digits", p.account)
	case named:
		return p.checkNamed(env, name)
	}
	return nil
}

// use is how the command is used, for errors.
func (p *policyCmd) use() string {
	if p.trust == "" {
		return "without --trust"
	}
	return "with --trust " + p.trust
}

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
		return fmt.Errorf("the broker does not know the AWS account of %s yet; say it with --account, or run: lessor secret check %s", name, name)
	default:
		document, err = p.permissionsOf(s, account)
	}
	if err != nil {
		return p.wrongFlag(err)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n", strings.TrimSpace(string(document)))
	return err
}

// definition reads the definition from the file or asks the broker for it, where
// either is named.
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

// permissionsOf is the policy with the rights that a definition needs.
func (p *policyCmd) permissionsOf(s messages.SecretInfo, account string) (json.RawMessage, error) {
	o := definition.PermissionOptions{Account: account, Installation: cmp.Or(p.installation, s.Installation), Principal: p.principal}
	if own := s.Connection.ARN; o.Principal == "" && account == s.Connection.Account && strings.Contains(own, ":user/") {
		o.Principal = own
	}
	return definition.Permissions(s.Definition, o)
}

// trustOf is the trust policy of the broker's role.
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

// wrongFlag makes a usage error of one about an option, which has its flag's name.
func (p *policyCmd) wrongFlag(err error) error {
	var e *messages.Error
	if errors.As(err, &e) && e.Code == messages.CodeInvalidRequest {
		return cli.Usagef("--%s", e.Message)
	}
	return cli.ForOperator(err)
}

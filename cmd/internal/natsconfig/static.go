package natsconfig

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"
)

// keysFile is the file with the users' public keys, which the accounts include. Everything
// else depends only on the list of identities.
const keysFile = "keys.conf"

// generatedHeader is the begin of files that are written again each time.
const generatedHeader = `# Made by "lessor nats-config" from a list of identities: change the list, and make it
# again.

`

// WriteStatic writes to dir the configuration of servers that know the users' public keys,
// and the keys. Keys that are in dir already are kept.
func WriteStatic(dir string, accounts []Account) error {
	keys := keysOf(dir)
	var public bytes.Buffer
	fmt.Fprintf(&public, "# The users' public keys. The private ones are for their users alone.\n")
	for _, a := range accounts {
		for _, user := range a.users {
			pair, err := keys.key(userKey(a.role, user), nkeys.PrefixByteUser)
			if err != nil {
				return err
			}
			id, err := pair.PublicKey()
			if err != nil {
				return err
			}
			pair.Wipe()
			fmt.Fprintf(&public, "%s: %q\n", userKey(a.role, user), id)
		}
	}
	if err := writeFile(filepath.Join(dir, keysFile), public.Bytes(), 0o644); err != nil {
		return err
	}
	return writeConf(dir, StaticConf(accounts))
}

// StaticConf returns the accounts of servers that know their users, without the keys.
func StaticConf(accounts []Account) []byte {
	var b bytes.Buffer
	b.WriteString(generatedHeader)
	fmt.Fprintf(&b, "include %q\n\nsystem_account: %s\n\naccounts: {\n", "./"+keysFile, systemAccount)
	for _, a := range accounts {
		a.writeStatic(&b)
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// writeStatic writes an account.
func (a Account) writeStatic(b *bytes.Buffer) {
	fmt.Fprintf(b, "  %q: {\n", a.name)
	if a.jetStream {
		b.WriteString("    jetstream: enabled\n")
	}
	if l := a.limits; l != (Limits{}) {
		fmt.Fprintf(b, "    limits: {max_connections: %d, max_subscriptions: %d, max_payload: %d, max_leafnodes: 0}\n", l.connections, l.subscriptions, l.payload)
	}
	b.WriteString("    users: [\n")
	for _, user := range a.users {
		fmt.Fprintf(b, "      {nkey: $%s", userKey(a.role, user))
		if a.may != nil {
			b.WriteString(", permissions: {\n")
			a.may(user).writeStatic(b)
			b.WriteString("      }")
		}
		b.WriteString("}\n")
	}
	b.WriteString("    ]\n")
	writeShares(b, "exports", a.exports, func(s Share) string {
		text := fmt.Sprintf("{%s: %q, accounts: [%s]", s.kind, s.subject, `"`+strings.Join(s.with, `", "`)+`"`)
		if s.many {
			text += ", response_type: Stream"
		}
		return text + "}"
	})
	writeShares(b, "imports", a.imports, func(s Share) string {
		text := fmt.Sprintf("{%s: {account: %q, subject: %q}", s.kind, s.with[0], s.subject)
		if s.to != "" {
			text += fmt.Sprintf(", to: %q", s.to)
		}
		return text + "}"
	})
	b.WriteString("  }\n")
}

// writeShares writes exports or imports, one a line.
func writeShares(b *bytes.Buffer, name string, shares []Share, line func(Share) string) {
	if len(shares) == 0 {
		return
	}
	fmt.Fprintf(b, "    %s: [\n", name)
	for _, s := range shares {
		fmt.Fprintf(b, "      %s\n", line(s))
	}
	b.WriteString("    ]\n")
}

// writeStatic writes the permissions of a user.
func (p Permissions) writeStatic(b *bytes.Buffer) {
	for _, list := range []struct {
		name     string
		subjects []string
	}{{"publish", p.publish}, {"subscribe", p.subscribe}} {
		fmt.Fprintf(b, "        %s: [\n", list.name)
		for _, s := range list.subjects {
			fmt.Fprintf(b, "          %q\n", s)
		}
		b.WriteString("        ]\n")
	}
	if p.answers > 0 {
		fmt.Fprintf(b, "        allow_responses: {max: %d, expires: %q}\n", p.answers, p.within)
	}
}

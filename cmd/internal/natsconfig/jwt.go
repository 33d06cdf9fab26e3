package natsconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// operatorKey and operatorSigningKey are the names of the operator's keys. Only the signing
// key signs accounts, so the other can be kept elsewhere.
const (
	operatorKey        = "operator"
	operatorSigningKey = "operator-signing"
)

// WriteJWT writes to dir the configuration of servers whose users have JWTs, and the users'
// credentials. Users are signed by a scoped signing key of their account and never by the
// account's own key, so that no user can have more permissions than the scope. Keys that
// are in dir already are kept.
func WriteJWT(dir string, accounts []Account) error {
	keys := keysOf(dir)
	signer, operator, err := operatorToken(dir, keys)
	if err != nil {
		return err
	}
	defer signer.Wipe()
	ids := map[string]string{}
	for _, a := range accounts {
		if ids[a.name], err = keys.public("account-"+a.name, nkeys.PrefixByteAccount); err != nil {
			return err
		}
	}
	broker, err := keys.key("account-"+brokerAccount, nkeys.PrefixByteAccount)
	if err != nil {
		return err
	}
	defer broker.Wipe()
	var conf bytes.Buffer
	conf.WriteString(generatedHeader)
	fmt.Fprintf(&conf, "operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n", operator, ids[systemAccount])
	for _, a := range accounts {
		scope, err := keys.public("signing-"+a.name, nkeys.PrefixByteAccount)
		if err != nil {
			return err
		}
		claims := a.claims(scope, ids)
		for _, i := range claims.Imports {
			if i.Token, err = activation(broker, claims.Subject, i); err != nil {
				return err
			}
		}
		token, err := encode(claims, signer)
		if err != nil {
			return fmt.Errorf("account %s: %w", a.name, err)
		}
		fmt.Fprintf(&conf, "  %s: %s # %s\n", claims.Subject, token, a.name)
		for _, user := range a.users {
			if err := writeCreds(dir, keys, a, user, claims.Subject); err != nil {
				return err
			}
		}
	}
	conf.WriteString("}\n")
	return writeConf(dir, conf.Bytes())
}

// operatorFile is the file with the operator's JWT.
const operatorFile = "operator.jwt"

// operatorToken returns the operator's JWT and the key that signs accounts. A stored JWT
// with the same claims is kept, since servers don't accept another one at a reload.
func operatorToken(dir string, keys keyFolder) (nkeys.KeyPair, string, error) {
	pair, err := keys.key(operatorKey, nkeys.PrefixByteOperator)
	if err != nil {
		return nil, "", err
	}
	defer pair.Wipe()
	signer, err := keys.key(operatorSigningKey, nkeys.PrefixByteOperator)
	if err != nil {
		return nil, "", err
	}
	id, err := pair.PublicKey()
	if err != nil {
		return nil, "", err
	}
	signing, err := signer.PublicKey()
	if err != nil {
		return nil, "", err
	}
	system, err := keys.public("account-"+systemAccount, nkeys.PrefixByteAccount)
	if err != nil {
		return nil, "", err
	}
	claims := jwt.NewOperatorClaims(id)
	claims.Name, claims.SystemAccount = "lessor", system
	claims.SigningKeys.Add(signing)
	claims.StrictSigningKeyUsage = true
	path := filepath.Join(dir, operatorFile)
	if kept, err := os.ReadFile(path); err == nil {
		old, err := jwt.DecodeOperatorClaims(string(kept))
		if err == nil && old.Subject == id && old.SystemAccount == system && slices.Equal(old.SigningKeys, claims.SigningKeys) && old.StrictSigningKeyUsage {
			return signer, string(kept), nil
		}
	}
	token, err := encode(claims, pair)
	if err != nil {
		return nil, "", err
	}
	return signer, token, writeFile(path, []byte(token), 0o644)
}

// claims returns the claims of an account's JWT without activations.
func (a Account) claims(signingKey string, ids map[string]string) *jwt.AccountClaims {
	c := jwt.NewAccountClaims(ids[a.name])
	c.Name = a.name
	c.Limits.DisallowBearer = true
	if a.jetStream {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{
			DiskStorage: jwt.NoLimit, MemoryStorage: 0, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
			MaxAckPending: jwt.NoLimit, MemoryMaxStreamBytes: jwt.NoLimit, DiskMaxStreamBytes: jwt.NoLimit,
		}
	}
	if l := a.limits; l != (Limits{}) {
		c.Limits.Conn, c.Limits.Subs, c.Limits.Payload, c.Limits.LeafNodeConn = l.connections, l.subscriptions, l.payload, 0
	}
	for _, e := range a.exports {
		x := &jwt.Export{Subject: jwt.Subject(e.subject), Type: e.kind.jwt(), TokenReq: true}
		if e.many {
			x.ResponseType = jwt.ResponseTypeStream
		}
		c.Exports.Add(x)
	}
	for _, i := range a.imports {
		c.Imports.Add(&jwt.Import{Subject: jwt.Subject(i.subject), Account: ids[i.with[0]], Type: i.kind.jwt(), LocalSubject: jwt.RenamingSubject(i.to)})
	}
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = signingKey, a.role
	if a.may != nil {
		may := a.may("{{name()}}") // the server replaces this by the user's name
		scope.Template.Pub.Allow.Add(may.publish...)
		scope.Template.Sub.Allow.Add(may.subscribe...)
		if may.answers > 0 {
			scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: may.answers, Expires: may.within}
		}
	}
	c.SigningKeys.AddScopedSigner(scope)
	return c
}

// jwt returns the kind as JWTs have it.
func (k shareKind) jwt() jwt.ExportType {
	if k == stream {
		return jwt.Stream
	}
	return jwt.Service
}

// activation returns the token with which the exporter allows an import.
func activation(exporter nkeys.KeyPair, importer string, i *jwt.Import) (string, error) {
	a := jwt.NewActivationClaims(importer)
	a.Name, a.ImportSubject, a.ImportType = string(i.Subject), i.Subject, i.Type
	return encode(a, exporter)
}

// encode validates claims as a server would, and signs them.
func encode(c jwt.Claims, signer nkeys.KeyPair) (string, error) {
	var r jwt.ValidationResults
	c.Validate(&r)
	if err := errors.Join(r.Errors()...); err != nil {
		return "", err
	}
	return c.Encode(signer)
}

// writeCreds writes a user's credentials: its JWT, which has no permissions of its own, and
// its key.
func writeCreds(dir string, keys keyFolder, a Account, user, account string) error {
	pair, err := keys.key(userKey(a.role, user), nkeys.PrefixByteUser)
	if err != nil {
		return err
	}
	defer pair.Wipe()
	id, err := pair.PublicKey()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	signer, err := keys.key("signing-"+a.name, nkeys.PrefixByteAccount)
	if err != nil {
		return err
	}
	defer signer.Wipe()
	token, err := userToken(signer, account, id, user)
	if err != nil {
		return err
	}
	creds, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		return err
	}
	defer clear(creds)
	return writeFile(filepath.Join(dir, "creds", userKey(a.role, user)+".creds"), creds, 0o600)
}

// userToken returns a user's JWT. The scope of the signing key has the permissions, with
// the user's name in subjects.
func userToken(signer nkeys.KeyPair, account, id, name string) (string, error) {
	c := jwt.NewUserClaims(id)
	c.Name, c.IssuerAccount = name, account
	c.SetScoped(true) // the permissions are those of the signing key
	return encode(c, signer)
}

// public returns the public key with this name, which is created if it is missing.
func (k keyFolder) public(name string, kind nkeys.PrefixByte) (string, error) {
	pair, err := k.key(name, kind)
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// ClaimsText returns the claims of the accounts' JWTs as JSON, with names in place of keys.
func ClaimsText(accounts []Account) ([]byte, error) {
	type entry struct {
		Account string      `json:"account"`
		Users   []string    `json:"users"`
		Claims  jwt.Account `json:"claims"`
	}
	ids := map[string]string{}
	for _, a := range accounts {
		ids[a.name] = "<account " + a.name + ">"
	}
	var all []entry
	for _, a := range accounts {
		all = append(all, entry{a.name, a.users, a.claims("<signing key of "+a.name+">", ids).Account})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(all)
	return b.Bytes(), err
}

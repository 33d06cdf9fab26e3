package iamsim

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// provider is an OIDC provider of the account. It signs with HS256, because the account both issues and verifies tokens.
type provider struct {
	key       []byte
	audiences []string
}

// claims are the claims of a web identity token that are verified.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

const jwtHeader = `{"alg":"HS256","typ":"JWT"}`

// AddOIDCProvider creates an OIDC provider with the https URL of its issuer, and returns its ARN, which a role's trust
// policy names as Federated. Tokens for other audiences are refused.
func (s *Sim) AddOIDCProvider(issuer string, audiences ...string) (arn string) {
	s.change(func(a *account) {
		host := issuerHost(issuer)
		a.providers[host] = &provider{key: a.random.bytes(32), audiences: audiences}
		arn = a.arn("iam", "oidc-provider/"+host)
	})
	return arn
}

// WebIdentityToken issues a token of a provider of AddOIDCProvider, valid for ttl by the account's clock.
func (s *Sim) WebIdentityToken(issuer, subject, audience string, ttl time.Duration) string {
	now := s.now()
	payload, err := json.Marshal(claims{issuer, subject, audience, now.Unix(), now.Add(ttl).Unix()})
	must(err)
	token := ""
	s.change(func(a *account) {
		p := a.providers[issuerHost(issuer)]
		if p == nil {
			panic("iamsim: no OIDC provider " + issuer)
		}
		token = encodeJWT([]byte(jwtHeader)) + "." + encodeJWT(payload)
		token += "." + encodeJWT(sum(p.key, token))
	})
	return token
}

func issuerHost(issuer string) string { return strings.TrimPrefix(issuer, "https://") }

func encodeJWT(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func invalidIdentity(message string) error {
	return &apiError{http.StatusBadRequest, "InvalidIdentityToken", message}
}

// verifyToken verifies the format, issuer, signature, audience and age of a token. It returns the claims and the host of
// the provider.
func (a *account) verifyToken(token string, now time.Time) (claims, string, error) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, "", invalidIdentity("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return c, "", invalidIdentity("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	host := issuerHost(c.Issuer)
	p := a.providers[host]
	if p == nil {
		return c, "", invalidIdentity("No OpenIDConnect provider found in your account for " + c.Issuer)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || parts[0] != encodeJWT([]byte(jwtHeader)) || !hmac.Equal(signature, sum(p.key, parts[0]+"."+parts[1])) {
		return c, "", invalidIdentity("Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements")
	}
	if !slices.Contains(p.audiences, c.Audience) {
		return c, "", invalidIdentity("Incorrect token audience")
	}
	if now.Unix() >= c.Expires {
		return c, "", &apiError{http.StatusBadRequest, "ExpiredTokenException", "Token expired: current date/time " +
			now.UTC().Format(time.RFC3339) + " must be before the expiration date/time " + time.Unix(c.Expires, 0).UTC().Format(time.RFC3339)}
	}
	return c, host, nil
}

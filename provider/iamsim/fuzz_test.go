package iamsim_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// FuzzServeHTTP checks that the handler responds to any request with 200 or a client error.
func FuzzServeHTTP(f *testing.F) {
	const auth = "AWS4-HMAC-SHA256 Credential=AKIA/20260301/us-east-1/iam/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"
	f.Add("POST", "/", "Action=CreateUser&Version=2010-05-08&UserName=a&Tags.member.1.Key=k", auth, "20260301T120000Z")
	f.Add("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", "AWS4-HMAC-SHA256 =", "")
	f.Add("POST", "/", "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/r"+
		"&RoleSessionName=me&WebIdentityToken=e30.e30.e30", "", "")
	f.Add("POST", "/%zz", "Action=%zz&;", "x", "2026")
	f.Fuzz(func(t *testing.T, method, target, body, authorization, date string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Method = method
		if u, err := r.URL.Parse(target); err == nil {
			r.URL = u
		}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Amz-Date", date)
		w := httptest.NewRecorder()
		sim := iamsim.New(iamsim.Options{})
		sim.AddOIDCProvider("", "")
		sim.ServeHTTP(w, r)
		if w.Code != 200 && w.Code/100 != 4 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

// FuzzPolicy adds a policy and evaluates it if it is accepted.
func FuzzPolicy(f *testing.F) {
	f.Add(denyAfter)
	f.Add(trustBroker)
	f.Add(brokerPolicy)
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"${a${b}:*","Condition":{"Null":{"a:b":[true,1,"x"]}}}}`)
	f.Add(`{"Version":"2012-10-17","Statement":null}`)
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":null,"Principal":null}]}`)
	f.Fuzz(func(t *testing.T, document string) {
		sim := iamsim.New(iamsim.Options{})
		var id string
		accepted := func() (ok bool) {
			defer func() { ok = recover() == nil }() // setup methods panic on malformed policies
			id, _ = sim.AddPrincipalWithPolicy("p", document)
			return true
		}()
		if !accepted {
			return
		}
		if _, err := sim.Allowed(id, "s3:GetObject", "arn:aws:s3:::b/k"); err != nil {
			t.Error(err)
		}
	})
}

package messages_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/lessorhq/lessor/messages"
)

func TestOnlyReplyEncodeShowsTheSecretKey(t *testing.T) {
	c := credentials()
	ready := false
	reply := messages.Reply{Kind: messages.KindCredentials, Lease: leaseIn(messages.StateActive), Credentials: &c, Ready: &ready}
	data, err := reply.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), theSecret); n != 1 {
		t.Errorf("the secret key occurs %d times: %s", n, data)
	}
	var got struct {
		Kind        string
		Ready       *bool
		Credentials map[string]string
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"access_key_id": "AKIAX", "secret_access_key": theSecret, "session_token": "", "username": "lessor-alice-x", "region": "us-east-1",
	}
	if !reflect.DeepEqual(got.Credentials, want) || got.Kind != "credentials" || got.Ready == nil || *got.Ready {
		t.Errorf("got %s", data)
	}
	wantHidden(t, "json.Marshal", string(mustJSON(t, reply)))
	if reply.Credentials.SecretAccessKey.Reveal() != theSecret {
		t.Error("encoding changed the reply")
	}
}

func TestRepliesRoundTrip(t *testing.T) {
	c := credentials()
	withToken := c
	withToken.SessionToken = messages.NewSensitive("token " + theSecret)
	yes, no := true, false
	lease := leaseIn(messages.StateActive)
	for name, reply := range map[string]messages.Reply{
		"credentials":       {Kind: messages.KindCredentials, Lease: lease, Credentials: &c},
		"with a token":      {Kind: messages.KindCredentials, Lease: lease, Credentials: &withToken, Ready: &yes},
		"sealed":            {Kind: messages.KindCredentials, Lease: lease, Sealed: &messages.Sealed{From: xkey, Box: []byte("box")}, Ready: &no},
		"renewed":           {Kind: messages.KindRenewed, Lease: lease},
		"revoked":           {Kind: messages.KindRevoked, Lease: leaseIn(messages.StateRevoked)},
		"lease":             {Kind: messages.KindLease, Lease: leaseIn(messages.StateFailed)},
		"leases":            {Kind: messages.KindLeases, Leases: []messages.Lease{*lease, *leaseIn(messages.StateRevoking)}, Next: lease.Name},
		"error":             messages.ErrorReply(messages.Errorf(messages.CodeTTLExceedsMax, "ttl 48h is above the maximum of 24h"), nil),
		"error about lease": messages.ErrorReply(messages.Errorf(messages.CodeAlreadyDelivered, "it was"), lease),
	} {
		t.Run(name, func(t *testing.T) {
			data, err := reply.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := messages.DecodeReply(data)
			if err != nil || !reflect.DeepEqual(got, reply) {
				t.Errorf("got %+v, %v; want %+v", got, err, reply)
			}
		})
	}
}

func TestErrorReplyFormat(t *testing.T) {
	e := messages.Errorf(messages.CodeLimitExceeded, "no more than %d", 5).Because(errors.New("the cause"))
	got := string(must(messages.ErrorReply(e, nil).Encode()))
	if want := `{"kind":"error","error":{"code":"limit_exceeded","message":"no more than 5","retryable":true}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A client may be older than its broker.
func TestDecodeReplyIgnoresUnknownFields(t *testing.T) {
	r, err := messages.DecodeReply([]byte(`{"kind":"renewed","colour":"red","lease":{"name":"a.b.c","shape":"round"}}`))
	if err != nil || r.Lease == nil || r.Lease.Name != "a.b.c" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestDecodeReplyRefusesOtherJSON(t *testing.T) {
	for _, data := range []string{
		"", "null", "{}", "[]", "x", `{"kind":""}`, `{"kind":1}`, `{"kind":"error"}`, `{"kind":"error","error":null}`,
		`{"kind":"lease"} {}`, `{"kind":"credentials","credentials":{"secret_access_key":["` + theSecret + `"]}}`,
		`{"type":"io.nats.micro.v1.ping_response"}`, `{"stream":"LESSOR_REQUEST","seq":17}`, `+ACK`, strings.Repeat("[", 20_000),
	} {
		r, err := messages.DecodeReply([]byte(data))
		wantCode(t, err, messages.CodeInvalidRequest, "lessor")
		wantSafe(t, err)
		wantHidden(t, "the error", err.Error())
		if !reflect.DeepEqual(r, messages.Reply{}) {
			t.Errorf("%.50s: got an error and a reply: %+v", data, r)
		}
	}
}

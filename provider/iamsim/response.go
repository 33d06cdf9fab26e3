package iamsim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// node is an XML element of a response: text or children.
type node struct {
	name string
	text string
	kids []node
}

func text(name, value string) node           { return node{name: name, text: value} }
func element(name string, kids ...node) node { return node{name: name, kids: kids} }

func flag(name string, value bool) node     { return text(name, strconv.FormatBool(value)) }
func date(name string, at time.Time) node   { return text(name, at.UTC().Format(time.RFC3339)) }
func document(name, policy string) node     { return text(name, percentEncode(policy)) }
func member(kids ...node) node              { return element("member", kids...) }
func list(name string, members []node) node { return element(name, members...) }
func percentEncode(s string) string         { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (n node) write(b *bytes.Buffer) {
	b.WriteString("<" + n.name + ">")
	_ = xml.EscapeText(b, []byte(n.text)) // writing to a Buffer never fails
	for _, k := range n.kids {
		k.write(b)
	}
	b.WriteString("</" + n.name + ">")
}

// writeResult responds to a successful call. A call without a result has no Result element, as with AWS.
func writeResult(w http.ResponseWriter, svc service, action, requestID string, result []node) {
	var b bytes.Buffer
	b.WriteString("<" + action + `Response xmlns="` + svc.namespace + `">`)
	if result != nil {
		element(action+"Result", result...).write(&b)
	}
	element("ResponseMetadata", text("RequestId", requestID)).write(&b)
	b.WriteString("</" + action + "Response>")
	writeXML(w, http.StatusOK, requestID, b.Bytes())
}

// writeError responds to a failed call.
func writeError(w http.ResponseWriter, svc service, requestID string, err error) {
	f := asAPIError(err)
	kind := "Sender"
	if f.status >= 500 {
		kind = "Receiver"
	}
	var b bytes.Buffer
	b.WriteString(`<ErrorResponse xmlns="` + svc.namespace + `">`)
	element("Error", text("Type", kind), text("Code", f.code), text("Message", f.message)).write(&b)
	text("RequestId", requestID).write(&b)
	b.WriteString("</ErrorResponse>")
	writeXML(w, f.status, requestID, b.Bytes())
}

func writeXML(w http.ResponseWriter, status int, requestID string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/xml")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// asAPIError returns the apiError in err's chain, or a ServiceFailure.
func asAPIError(err error) *apiError {
	if f, ok := errors.AsType[*apiError](err); ok {
		return f
	}
	return &apiError{http.StatusInternalServerError, "ServiceFailure", err.Error()}
}

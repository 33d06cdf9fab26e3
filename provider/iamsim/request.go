package iamsim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// service is one of the two services of the endpoint. The Version of a request selects it.
type service struct {
	name      string
	version   string
	namespace string
}

var (
	iam = service{"iam", "2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"}
	sts = service{"sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"}
)

// maxBody is more than the largest valid request, a percent-encoded policy of 131072 characters.
const maxBody = 1 << 20

// request is a call that is being handled.
type request struct {
	http     *http.Request
	bodyHash [sha256.Size]byte
	form     url.Values

	svc    service
	action string
	op     operation

	// Set when the call is executed.
	caller *caller
	now    time.Time
	faults Faults
}

// get returns a parameter, or "" if it is absent.
func (r *request) get(name string) string { return r.form.Get(name) }

// readRequest reads a request. The result is valid for the call log and the response even if there is an error.
func readRequest(h *http.Request) (*request, error) {
	r := &request{http: h, svc: iam, form: url.Values{}}
	body, err := io.ReadAll(io.LimitReader(h.Body, maxBody+1))
	if err != nil {
		return r, err
	}
	if len(body) > maxBody {
		return r, &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request size exceeded 1048576 bytes"}
	}
	r.bodyHash = sha256.Sum256(body)
	form, err := url.ParseQuery(string(body))
	query, queryErr := url.ParseQuery(h.URL.RawQuery)
	maps.Copy(form, query)
	r.form = form
	r.action = form.Get("Action")
	if form.Get("Version") == sts.version {
		r.svc = sts
	}
	if errors.Join(err, queryErr) != nil {
		return r, &apiError{http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error."}
	}
	return r, r.findOperation()
}

func (r *request) findOperation() error {
	if r.action == "" {
		return &apiError{http.StatusBadRequest, "MissingAction", "The request is missing an action or a required parameter."}
	}
	op, ok := operations[r.action]
	if version := r.get("Version"); !ok || op.service.version != version {
		return &apiError{http.StatusBadRequest, "InvalidAction",
			fmt.Sprintf("Could not find operation %s for version %s", r.action, version)}
	}
	r.op = op
	return nil
}

// logEntry returns the request as the call log has it.
func (r *request) logEntry() Call {
	params := maps.Clone(r.form)
	params.Del("WebIdentityToken")
	sig, _ := parseSignature(r.http.Header)
	return Call{Action: r.action, User: r.get("UserName"), Params: params, AccessKeyID: sig.keyID}
}

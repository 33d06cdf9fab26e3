package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/lessorhq/lessor/messages"
)

// Page is a page of an identity's leases.
type Page struct {
	Leases []messages.Lease
	Next   string // After of the next page; "" if this is the last
}

// List returns one page of the identity's leases.
func (c *Client) List(ctx context.Context, r messages.ListRequest) (Page, error) {
	body, err := json.Marshal(r) // #nosec G117 -- the name of a dynamic secret
	if err != nil {
		return Page{}, fmt.Errorf("write the list request: %w", err)
	}
	if _, err := messages.DecodeListRequest(body); err != nil {
		return Page{}, err
	}
	reply, err := c.call(ctx, c.o.Namespace.API("list", c.o.Identity), r)
	if err != nil {
		return Page{}, err
	}
	if err := expect(reply, messages.KindLeases); err != nil {
		return Page{}, err
	}
	return Page{Leases: reply.Leases, Next: reply.Next}, nil
}

// Leases returns an iterator over the identity's leases. It requests pages of r.Limit
// leases as needed. An error ends the iteration.
func (c *Client) Leases(ctx context.Context, r messages.ListRequest) iter.Seq2[messages.Lease, error] {
	return func(yield func(messages.Lease, error) bool) {
		for {
			page, err := c.List(ctx, r)
			if err != nil {
				yield(messages.Lease{}, err)
				return
			}
			for _, l := range page.Leases {
				if !yield(l, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == r.After { // the iteration would not end
				yield(messages.Lease{}, fmt.Errorf("the page after %s is its own next page", r.After))
				return
			}
			r.After = page.Next
		}
	}
}

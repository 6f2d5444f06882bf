package upstream

import (
	"context"
	"errors"
	"net/http"
)

// maxPages bounds what is gathered for one list.
const maxPages = 1000

// walk fetches the pages of a list, following Link until page says that it has
// enough, and returns whether there was another. limit is in bytes, over all.
func (c *Client) walk(ctx context.Context, q call, limit int64, page func(resp *http.Response, text []byte) (enough bool, err error)) (more bool, err error) {
	seen := map[string]bool{}
	for range maxPages {
		seen[q.url.String()] = true
		resp, err := c.do(ctx, q)
		if err != nil {
			return false, err
		}
		text, err := readAll(resp, limit, errors.New("the list is too long"))
		drain(resp)
		if err != nil {
			return false, c.broken(ctx, q.op, err)
		}
		limit -= int64(len(text))
		enough, err := page(resp, text)
		if err != nil {
			return false, c.broken(ctx, q.op, err)
		}
		link := nextLink(resp.Header.Values("Link"))
		if enough || link == "" {
			return link != "", nil
		}
		next, err := resp.Request.URL.Parse(link)
		switch {
		case err != nil:
			return false, c.broken(ctx, q.op, invalid("malformed Link to the next page"))
		case origin(next) != c.origin:
			return false, c.broken(ctx, q.op, invalid("the next page is at another host, %s", next.Host))
		case seen[next.String()]:
			return false, c.broken(ctx, q.op, invalid("the pages go round in a circle"))
		}
		next.User = nil
		q.url = next
	}
	return false, c.broken(ctx, q.op, invalid("more than %d pages", maxPages))
}

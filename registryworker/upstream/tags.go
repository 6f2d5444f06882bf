package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	// maxTagsSize bounds one list, in bytes of the upstream's JSON.
	maxTagsSize = 16 << 20
	// maxPageTags is the most that is asked for at once; distribution and
	// Amazon's registry refuse more.
	maxPageTags = 1000
)

// Tags lists up to n tags that come after last, in the upstream's order, and
// says whether there are more. A negative n lists all.
func (c *Client) Tags(ctx context.Context, repo string, n int, last string) (tags []string, more bool, err error) {
	op := "list tags of " + repo
	if err := checkRepository(repo); err != nil {
		return nil, false, c.report.wrap(op, err)
	}
	q := c.call(http.MethodGet, op, repo, "tags", "list")
	query := url.Values{}
	if n >= 0 {
		query.Set("n", strconv.Itoa(min(max(n, 1), maxPageTags)))
	}
	if last != "" {
		query.Set("last", last)
	}
	q.url.RawQuery = query.Encode()
	tags = []string{}
	more, err = c.walk(ctx, q, maxTagsSize, func(_ *http.Response, text []byte) (bool, error) {
		var doc struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			return false, invalid("the tags list is malformed JSON")
		}
		page := doc.Tags
		// An upstream that knows no pages starts from the beginning again.
		if i := slices.Index(page, last); last != "" && i >= 0 {
			page = page[i+1:]
		}
		tags = append(tags, page...)
		return n >= 0 && len(tags) >= n, nil
	})
	if err != nil {
		return nil, false, err
	}
	if n >= 0 && len(tags) > n {
		tags, more = tags[:n], true
	}
	return tags, more, nil
}

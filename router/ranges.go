package router

import (
	"net/http"
	"strings"
)

// ignoreRange takes a Range away that is to be ignored (RFC 9110 section 14.2):
// of anything but a GET, and in other units than bytes. So is one for the last 0
// bytes: http.ServeContent would describe these with a Content-Range that is none.
func ignoreRange(r *http.Request) {
	asked := r.Header.Get("Range")
	if asked == "" {
		return
	}
	ranges, ok := strings.CutPrefix(asked, "bytes=")
	if r.Method != http.MethodGet || !ok || hasEmptySuffix(ranges) {
		r.Header.Del("Range")
	}
}

func hasEmptySuffix(ranges string) bool {
	for one := range strings.SplitSeq(ranges, ",") {
		length, ok := strings.CutPrefix(strings.TrimSpace(one), "-")
		if ok && strings.Trim(length, "0") == "" {
			return true
		}
	}
	return false
}

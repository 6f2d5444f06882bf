// Package status is what the cache says about itself: one Document, which the
// supervisor puts together from a Part of each process, and which
// `registry-cache status`, the page at / and its JSON show.
//
// It holds nothing secret: names, sizes, times and the words of the log. Sizes
// are bytes, durations nanoseconds in Go and seconds in JSON.
package status

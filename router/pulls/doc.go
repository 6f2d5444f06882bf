// Package pulls makes one line of the log out of the many requests of a pull.
//
// HTTP does not say which requests are one pull. Here a pull is what one client
// (its address without the port, and its user) does with one image: it begins
// with a request for a manifest, takes in the manifests and blobs that the
// client then gets from that repository, and is over when none of them is under
// way and nothing came for some seconds. A blob that is fetched later gets a line
// of its own, in which the image is pulled no time. Where a client pulls several images of
// a repository at once, a blob belongs to the one whose manifest lists it.
//
// A client may be many that share an address. So a pull of the same image again
// is counted in the line of the one that is open, and who never pauses gets a
// line a minute. Who only asks whether a tag has changed, with HEAD, or for what
// there is not, pulls nothing.
package pulls

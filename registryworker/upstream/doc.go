// Package upstream is the client of one registry that the cache pulls from:
// the OCI distribution API (github.com/opencontainers/distribution-spec), read
// only, with distribution's token authentication.
//
// What it guarantees:
//
//   - Credentials go to the upstream's own API, and to token servers that
//     belong to it (see realms), and nowhere else: not to the host of a
//     redirect, not to an arbitrary realm, not into an error or the log.
//   - Every phase has a time limit (dial, TLS, response header, silence in the
//     body); the transfer as a whole has none.
//   - Manifests are bounded in size and match their digest. Blobs are streamed
//     as they come: checking their digest is the reader's, who may put one
//     together from several ranges.
//   - Every error is an *Error whose Kind says what a cache can do about it.
//
// What it does not do: it keeps no content and repeats nothing but a request
// that was answered 401. Retries, resumption and staleness are for the callers,
// who know how much of what they already have.
package upstream

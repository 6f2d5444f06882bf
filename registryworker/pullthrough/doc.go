// Package pullthrough decides what the cache answers, and when the upstream is
// asked. It is a distribution.Namespace over the store, the upstream's client
// and the fill engine, put behind distribution's registry app:
//
//	Cache.Handler -> handlers.App -> repository -> store, upstream, fills
//
// What it guarantees:
//   - A digest is never a permission: bytes that another repository brought
//     are given out only after the upstream confirmed them for this one.
//   - Manifests leave as they came, byte for byte and with their media type,
//     whatever the client accepts.
//   - A tag costs the upstream one HEAD for any number of clients at once.
//     While the upstream fails, what is known is served, marked stale, if the
//     image can be had whole; otherwise the client gets the upstream's error
//     and may turn to another source.
//   - A store that can't be written never fails a pull.
//   - An answer that breaks off midway is aborted, never ended cleanly.
//
// Cacheability is told in ordinary HTTP (RFC 9111), and where an answer came
// from in Cache-Status (RFC 9211). The bytes of blobs in the store are not sent
// from here: X-Accel-Redirect names the digest and the router sends the file.
// Of a blob on its way there, X-Accel-Growing names the file that is written,
// and the body says how far the router may send it (images.Growing).
package pullthrough

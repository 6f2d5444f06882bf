// Package warm brings images into a running cache before anybody pulls them.
//
// It is a client of the cache's ordinary registry API, so it works over the
// network as well as beside the cache, and needs nothing of the cache but to be
// let in:
//
//	lookup  GET the manifests, which stores them, and HEAD each blob: the
//	        Cache-Status of the answer (RFC 9211) says whether it is here
//	fetch   ask for single bytes of the blobs that are not, while other
//	        images are still looked up
//
// What it guarantees:
//
//   - Next to nothing of the blobs comes over the connection to the cache. A
//     byte that is asked for with Range is given out when the cache has it, and
//     the last one only after the digest of all of it was found right: each
//     answer is progress, and the last one is the proof.
//   - A blob counts as fetched only when the cache then says that it has it.
//   - Whatever passes by itself is tried again: broken connections, 429, 5xx.
//   - To run it again is to resume it. What is here is skipped, and the cache
//     keeps what it has of a blob.
//   - One image that fails keeps no other from being warmed, nor from being
//     warmed now: what waits for its next try makes room.
//
// How the parts fit:
//
//	Names     reads the names of images, from arguments and lists
//	Cache     one request to the cache: who asks, and what the answer says
//	Run       lookup and fetch of all images, a bounded number of requests at once
//	Watcher   is told how far it is
//	Report    what became of each image
package warm

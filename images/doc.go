// Package images is the model of what the cache holds and where it lies on
// disk. It is the only package that knows the paths of the store, which has
// the layout of distribution's filesystem driver, so that the directory of an
// existing registry can be used as it is:
//
//	docker/registry/v2/blobs/sha256/<hh>/<hex>/data
//	docker/registry/v2/repositories/<name>/_layers/sha256/<hex>/link
//	docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/<hex>/link
//	docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
//	docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/index/sha256/<hex>/link
//
// and besides it, ignored by distribution:
//
//	docker/registry/v2/fills/<alg>/<hex>/   blobs on their way in
//	docker/registry/v2/landed               how much landed lately, see Growth
//	docker/registry/v2/verified             what the last Verify found
//	docker/registry/v2/state/<name>         what processes keep across restarts
//	.../_manifests/revisions/sha256/<hex>/mediatype
//	.../_referrers/sha256/<hex>/index.json
//	.../_pledges/sha256/<hex>               what a push relies on, see Pledge
//
// What is pushed lies in a store of its own, see HostedDir, which has the lock
// collecting.lock besides.
//
// Repository names start with the upstream's path. Nothing here trusts a link
// or a directory entry: a damaged one reads as absent, and the next pull heals
// it. What is specific to a local disk (rename, open files, atime) stays
// behind Store.
package images

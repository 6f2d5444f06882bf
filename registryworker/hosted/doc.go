// Package hosted is the process that keeps what is pushed to the cache itself:
// distribution's full registry on a store of its own, behind a socket that the
// router talks to.
//
// Distribution takes the uploads, checks what manifests need, and deletes. What
// is read is answered ahead of it: manifests whatever the client says it
// accepts, blobs by naming their file for the router to send (X-Accel-Redirect),
// and the referrers API, which distribution lacks.
//
// Nothing here evicts. Garbage is what no image needs: it is collected once an
// hour, and by `registry-cache images rm` in another process. What a push relies
// on is pledged to it, see images.Store.Pledge. The process trusts whoever reaches its socket: clients
// are authenticated, and pushes authorised, by the router.
package hosted

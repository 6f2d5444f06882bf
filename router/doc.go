// Package router is the front door of the cache: the one process that clients
// talk to. It decides who may ask (client authentication), what is asked for
// (package address) and which worker answers, sends blobs from the store's
// open files when the worker says where they are, and writes the access log.
//
// It has no credentials of any upstream and keeps nothing on disk but the log.
//
// What clients send is trusted in nothing: their path becomes a canonical one
// or an error, of their header a handful of fields reaches a worker, and
// Authorization reaches nobody. A body that can't be completed ends with a cut
// connection, never with a clean end.
//
// Settings change while requests run: each request keeps the snapshot it
// started with. Only routes, client authentication and the TLS pair change: the
// paths of store and log and the log level come from the environment, which a
// reload can't change.
package router

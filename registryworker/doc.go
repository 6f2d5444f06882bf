// Package registryworker is the process of one upstream: distribution's
// registry app with our pull-through namespace behind it, on a socket that the
// router talks to.
//
// A worker has the credentials of its one upstream and of no other. It trusts
// whoever reaches its socket: clients are authenticated by the router.
//
// Of distribution are used the app and its routes, not registry.NewRegistry,
// which sets global state and tracing. Its own proxy is off (no remote URL), as
// is its cache of blob descriptors: with a cleaner outside the process it would
// announce blobs that are gone.
package registryworker

// Package address parses what a client asked for, once, into a type.
//
// A repository can be named in three ways: with the upstream as the first part
// of the path, with containerd's ?ns= parameter, or with neither, which means
// the default upstream. All become one canonical name whose first part is the
// upstream's path:
//
//	/v2/quay.io/podman/hello/manifests/latest
//	/v2/podman/hello/manifests/latest?ns=quay.io
//	/v2/library/hello-world/manifests/latest
//
// Only names, tags and digests that the OCI distribution specification allows
// come out; in particular nothing that could leave the store's directories.
// What does not fit is an errcode.Error that says what was wrong and what
// would be right. Only the path of a request is read here; the caller must
// pass the path as it came, not one cleaned or unescaped.
package address

// Package client makes the files that clients need in order to pull through
// the cache: podman, buildah, skopeo and CRI-O, OpenShift, containerd, Docker.
//
// Each maker takes a Cache and returns whole files, ready to be put in place.
// What a client's format can't say is an error that tells what can be done
// instead, never a file that is nearly right. Names come quoted for their
// format: structured files are marshalled, and the templates of the others
// quote what they are given.
//
// The package knows nothing of how the cache itself is configured.
package client

// Package harness runs the real parts that the end-to-end tests are made of:
// the registry-cache binary as a site would run it, Debian's docker-registry
// behind a token server as its upstream, a front before it that counts
// requests and injects faults, and the clients podman, skopeo and buildah.
//
// Everything listens on 127.0.0.1 with ports the kernel picked, lies in
// directories of its own with names short enough for unix sockets, and is
// ended by its process id, so that tests can run beside each other and beside
// anything else on the machine.
package harness

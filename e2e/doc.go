// Package e2e tests registry-cache as a site uses it: the built binary, real
// registries as its upstreams, real clients.
package e2e

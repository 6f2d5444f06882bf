package registryworker

import (
	"registrycache/registryworker/fill"
	"registrycache/registryworker/pullthrough"
	"registrycache/registryworker/upstream"
	"registrycache/status"
)

// part is what the worker knows of the state of the cache.
func part(client *upstream.Client, cache *pullthrough.Cache, fills *fill.Engine) status.Part {
	u := client.Status()
	cache.Describe(&u)
	p := status.Part{Upstream: &u}
	for _, f := range fills.Running() {
		p.Fills = append(p.Fills, status.Fill{
			Upstream: u.Name, Repository: f.Repository, Digest: f.Digest.String(),
			Size: f.Size, Have: f.Have, Rate: f.Rate,
			Readers: f.Readers, Connections: f.Connections, Since: f.Started,
		})
	}
	return p
}

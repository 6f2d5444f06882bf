package client

import "fmt"

// Docker makes daemon.json. Docker's mirrors stand for docker.io alone, and ask
// without naming it.
func Docker(c Cache) ([]File, error) {
	switch name := c.defaultName(); name {
	case DockerHub:
	case "":
		return nil, fmt.Errorf("Docker asks its mirrors for images of docker.io without naming it, and DEFAULT_REGISTRY, %q, is not configured; add docker.io to the pull secret or CONFIG_FILE", c.DefaultPath)
	default:
		return nil, fmt.Errorf("Docker asks its mirrors for images of docker.io without naming it, and DEFAULT_REGISTRY is %s: make it docker.io", name)
	}
	doc := daemon{Mirrors: []string{c.url()}}
	if c.Insecure() {
		doc.Insecure = []string{c.Host}
	}
	return one(jsonFile("daemon.json", doc))
}

type daemon struct {
	Mirrors  []string `json:"registry-mirrors"`
	Insecure []string `json:"insecure-registries,omitempty"`
}

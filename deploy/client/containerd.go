package client

import "path"

// ContainerdMode is how containerd tells the cache which upstream it means.
type ContainerdMode string

const (
	// ByPath puts the upstream into the path.
	ByPath ContainerdMode = "path"
	// ByNamespace leaves it to the query ?ns=, which containerd adds by itself.
	ByNamespace ContainerdMode = "ns"
)

// ContainerdNode is what the files say of a node beside the cache.
type ContainerdNode struct {
	Mode ContainerdMode
	// CA is the path of the CA's certificate on the node, or empty when the node
	// trusts it already.
	CA string
	// Login is sent to the cache with each request; nil is none. containerd has
	// no other place for it: asked for a login by a mirror, it sends the one of
	// the registry that it stands for.
	Login *Login
}

// Containerd makes a hosts.toml for each upstream, for /etc/containerd/certs.d.
func Containerd(c Cache, node ContainerdNode) ([]File, error) {
	var basic string
	if node.Login != nil {
		var err error
		if basic, err = node.Login.basic(); err != nil {
			return nil, err
		}
	}
	var files []File
	for _, u := range c.Upstreams {
		page := hostsPage{
			Name: u.Name, Host: c.Host, Mode: node.Mode, Server: "https://" + u.Name, Mirror: c.url(),
			SkipVerify: c.Security == Unverified, CA: node.CA, Basic: basic,
		}
		if u.Name == DockerHub {
			page.Server = "https://registry-1.docker.io" // where Docker Hub's API is
		}
		if node.Mode == ByPath {
			page.Mirror, page.OverridePath = c.url()+"/v2/"+u.Path, true
		}
		f, err := execute("hosts.toml.tmpl", path.Join(u.Name, "hosts.toml"), page)
		if err != nil {
			return nil, err
		}
		f.Secret = basic != ""
		files = append(files, f)
	}
	return files, nil
}

type hostsPage struct {
	Name, Host, Server, Mirror, CA, Basic string
	Mode                                  ContainerdMode
	OverridePath, SkipVerify              bool
}

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

// Containerd makes a hosts.toml for each upstream, for /etc/containerd/certs.d.
// ca is the path of the CA's certificate on the node, or empty when the node
// trusts it already.
func Containerd(c Cache, mode ContainerdMode, ca string) ([]File, error) {
	var files []File
	for _, u := range c.Upstreams {
		page := hostsPage{
			Name: u.Name, Host: c.Host, Mode: mode, Server: "https://" + u.Name, Mirror: c.url(),
			SkipVerify: c.Security == Unverified, CA: ca,
		}
		if u.Name == DockerHub {
			page.Server = "https://registry-1.docker.io" // where Docker Hub's API is
		}
		if mode == ByPath {
			page.Mirror, page.OverridePath = c.url()+"/v2/"+u.Path, true
		}
		f, err := execute("hosts.toml.tmpl", path.Join(u.Name, "hosts.toml"), page)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

type hostsPage struct {
	Name, Host, Server, Mirror, CA string
	Mode                           ContainerdMode
	OverridePath, SkipVerify       bool
}

package client

// Registries makes /etc/containers/registries.conf, for a machine that has
// nothing else to say there.
func Registries(c Cache) ([]File, error) {
	f, err := registries(c, "registries.conf", registriesPage{
		Kind: "registries.conf", Place: "/etc/containers/registries.conf", Search: c.defaultName(),
	})
	return []File{f}, err
}

// dropInPlace is read after registries.conf and the distribution's own files.
const dropInPlace = "/etc/containers/registries.conf.d/50-registry-cache.conf"

// RegistriesDropIn makes a file for /etc/containers/registries.conf.d, which
// leaves all else as it is.
func RegistriesDropIn(c Cache) ([]File, error) {
	f, err := dropIn(c)
	return []File{f}, err
}

func dropIn(c Cache) (File, error) {
	return registries(c, "50-registry-cache.conf", registriesPage{
		Kind: "registries.conf --drop-in", Place: dropInPlace,
	})
}

type registriesPage struct {
	Kind, Place, Search, Host string
	Insecure                  bool
	Registries                []mirrored
}

type mirrored struct{ Name, Mirror string }

func registries(c Cache, file string, page registriesPage) (File, error) {
	if err := c.needsDNSName(); err != nil {
		return File{}, err
	}
	page.Host, page.Insecure = c.Host, c.Insecure()
	for _, u := range c.Upstreams {
		page.Registries = append(page.Registries, mirrored{u.Name, c.mirror(u)})
	}
	return execute("registries.conf.tmpl", file, page)
}

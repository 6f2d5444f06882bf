package config

import (
	"path/filepath"

	"github.com/caarlos0/env/v11"
)

// authFileVariable names the auth file of podman, buildah and skopeo, so that it may
// be set wherever a command of ours runs.
const authFileVariable = "REGISTRY_AUTH_FILE"

// AuthFiles are where podman and docker keep the logins of whoever runs a
// command, in the order in which to look (containers-auth.json(5)). They need
// not exist. REGISTRY_AUTH_FILE stands for all of them.
func AuthFiles(environ []string) []string {
	vars := env.ToMap(environ)
	if file := vars[authFileVariable]; file != "" {
		return []string{file}
	}
	var files []string
	below := func(dir string, parts ...string) {
		if dir != "" {
			files = append(files, filepath.Join(append([]string{dir}, parts...)...))
		}
	}
	below(vars["XDG_RUNTIME_DIR"], "containers", "auth.json")
	if dir := vars["XDG_CONFIG_HOME"]; dir != "" {
		below(dir, "containers", "auth.json")
	} else {
		below(vars["HOME"], ".config", "containers", "auth.json")
	}
	if dir := vars["DOCKER_CONFIG"]; dir != "" {
		below(dir, "config.json")
	} else {
		below(vars["HOME"], ".docker", "config.json")
	}
	return files
}

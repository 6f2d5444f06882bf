package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	dockerconfig "github.com/docker/cli/cli/config"

	"registrycache/config"
	"registrycache/warm"
)

// login finds the credentials for the cache where podman login and docker login
// put them, helpers included. No credentials are no error: few caches want any.
func (f *warmCacheFlags) login(environ []string, host string) (warm.Login, error) {
	if f.authFile != "" {
		login, found, err := loginIn(f.authFile, host)
		if err == nil && !found {
			err = fmt.Errorf("has no login for %s; podman login --authfile %s %s writes it", host, f.authFile, host)
		}
		if err != nil {
			return login, fmt.Errorf("--authfile %s: %w", f.authFile, err)
		}
		return login, nil
	}
	for _, file := range config.AuthFiles(environ) {
		login, found, err := loginIn(file, host)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return login, fmt.Errorf("%s: %w", file, err)
		case found:
			return login, nil
		}
	}
	return warm.Login{}, nil
}

func loginIn(file, host string) (login warm.Login, found bool, err error) {
	opened, err := os.Open(file)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // the caller names the file
		}
		return login, false, err
	}
	defer opened.Close()
	auths, err := dockerconfig.LoadFromReader(opened)
	if err != nil {
		return login, false, fmt.Errorf("is not an auth file: %w", err)
	}
	entry, err := auths.GetAuthConfig(host)
	if err != nil {
		return login, false, fmt.Errorf("the credential helper: %w", err)
	}
	login = warm.Login{Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken}
	return login, login != warm.Login{}, nil
}

package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// defaultUpstreams are cached, without credentials, when there is no pull
// secret.
var defaultUpstreams = []string{
	DockerHub, "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io", "mcr.microsoft.com",
	"public.ecr.aws", "registry.access.redhat.com",
}

// pullSecretForm shows what a pull secret looks like.
const pullSecretForm = `{"auths": {"quay.io": {"auth": "<base64 of user:password>"}}}`

// pullEntry is one key of the pull secret.
type pullEntry struct {
	registryKey
	// key is the key as it was written, fit to be shown.
	key string
	// credential is nil for anonymous.
	credential *Credential
}

// label names the entry in messages.
func (e *pullEntry) label() string { return `auths["` + e.key + `"]` }

// readPullSecret returns the entries of the pull secret, or the anonymous
// defaults where there is none.
func (l *loader) readPullSecret() []pullEntry {
	path := string(l.set.PullSecret)
	l.watch(path)
	content, err := readText(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !l.isSet("PULLSECRETPATH"):
		l.notice("there is no pull secret at %s, so the default upstreams are cached, without credentials", path)
		var entries []pullEntry
		for _, host := range defaultUpstreams {
			if k := (registryKey{Host: host}); !l.ignored(host, k) {
				entries = append(entries, pullEntry{key: host, registryKey: k})
			}
		}
		return entries
	case err != nil:
		l.mistake("PULLSECRETPATH", "%v", err)
		return nil
	}
	return l.parsePullSecret(path, decoded(content))
}

// decoded undoes the base64 in which podman before 4.4 mounts the values of a
// Kubernetes Secret (containers/podman issue 16269). Anything else stays as it
// is: an auth file is never valid base64, for its braces.
func decoded(content []byte) []byte {
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || !json.Valid(plain) {
		return content
	}
	return plain
}

// dockerSettings are what else docker/cli and containers/image keep in their
// auth files; none of it concerns the cache.
var dockerSettings = []string{
	"HttpHeaders", "psFormat", "imagesFormat", "networksFormat", "pluginsFormat", "volumesFormat", "statsFormat",
	"detachKeys", "serviceInspectFormat", "servicesFormat", "tasksFormat", "secretFormat", "configFormat",
	"nodesFormat", "pruneFilters", "proxies", "experimental", "stackOrchestrator", "kubernetes", "currentContext",
	"cliPluginsExtraDirs", "plugins", "aliases", "features",
}

func (l *loader) parsePullSecret(path string, content []byte) []pullEntry {
	if err := checkJSON(content); err != nil {
		l.mistake(path, "%v; write %s", err, pullSecretForm)
		return nil
	}
	members, err := jsonObject(content)
	if err != nil {
		l.mistake(path, "%v; write %s", err, pullSecretForm)
		return nil
	}
	var auths []json.RawMessage
	for _, m := range members {
		switch {
		case m.name == "auths":
			auths = append(auths, m.value)
		case m.name == "credHelpers" || m.name == "credsStore":
			l.notice("%s: %s is ignored: the cache has no credential helpers, so what they hold must stand in auths", path, m.name)
		case slices.Contains(dockerSettings, m.name):
		case looksLikeHost(m.name):
			l.mistake(path, "%q stands beside auths and belongs inside; write %s", showKey(m.name), pullSecretForm)
		default:
			l.mistake(path, "unknown key %q; expected is auths; write %s", showKey(m.name), pullSecretForm)
		}
	}
	switch len(auths) {
	case 0:
		l.mistake(path, "auths is missing; write %s", pullSecretForm)
		return nil
	case 1:
		return l.parseAuths(path, auths[0])
	}
	l.mistake(path, "auths is there %d times; keep one", len(auths))
	return nil
}

func (l *loader) parseAuths(path string, auths json.RawMessage) []pullEntry {
	members, err := jsonObject(auths)
	if err != nil {
		l.mistake(path, "auths %v; write %s", err, pullSecretForm)
		return nil
	}
	var entries []pullEntry
	seen := map[string]bool{}
	for _, m := range members {
		e := pullEntry{key: showKey(m.name)}
		where := path + ": " + e.label()
		if seen[m.name] {
			l.mistake(where, "is there more than once; keep one")
			continue
		}
		seen[m.name] = true
		e.registryKey, err = parseRegistryKey(m.name)
		if l.ignored(m.name, e.registryKey) || isDockerSession(e.registryKey) {
			continue
		}
		if err != nil {
			l.mistake(where, "the key %v", err)
			continue
		}
		if e.credential, err = parseCredential(m.value); err != nil {
			l.mistake(where, "%v", err)
			continue
		}
		if e.credential == nil {
			l.notice("%s holds no credentials, so it is used without", where)
		}
		entries = append(entries, e)
	}
	return entries
}

// isDockerSession recognises the two further entries that docker login writes
// for a login through the browser, which are no credentials of a registry.
func isDockerSession(k registryKey) bool {
	return k.Host == DockerHub && (k.Scope == "access-token" || k.Scope == "refresh-token")
}

// ignored says whether IGNOREREGISTRYLIST names the key, as written or in its
// plainest form, or the key's host.
func (l *loader) ignored(key string, k registryKey) bool {
	return slices.ContainsFunc(strings.Fields(l.set.IgnoreRegistries), func(item string) bool {
		if item == key {
			return true
		}
		skip, err := parseRegistryKey(item)
		return err == nil && skip.Host == k.Host && (skip.Scope == "" || skip.Scope == k.Scope)
	})
}

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/deploy/client"
)

// clientKinds are the kinds of client-config, in the order of its help.
var clientKinds = []clientKind{
	{
		name: "registries.conf", short: "podman, buildah, skopeo and CRI-O",
		long: `A registries.conf for podman, buildah, skopeo and CRI-O: every image of an
upstream is pulled through the cache, by tag and by digest, and from the
upstream itself should the cache fail. Put it at /etc/containers/registries.conf,
or with --drop-in into /etc/containers/registries.conf.d, beside what is there.`,
		examples: []string{
			"registries.conf --host cache.local:8443 > /etc/containers/registries.conf",
			"registries.conf --drop-in --host cache.local:8443 --output /etc/containers/registries.conf.d",
		},
		prepare: registriesConf,
	},
	{
		name: "icsp", short: "ImageContentSourcePolicy of OpenShift before 4.13",
		long:     `An ImageContentSourcePolicy, for OpenShift before 4.13: images pulled by digest.`,
		examples: []string{"icsp --host cache.local:8443 | oc apply -f -"},
		prepare:  plainKind(client.ICSP),
	},
	{
		name: "idms", short: "ImageDigestMirrorSet of OpenShift from 4.13 on",
		long:     `An ImageDigestMirrorSet, for OpenShift from 4.13 on: images pulled by digest.`,
		examples: []string{"idms --host cache.local:8443 | oc apply -f -"},
		prepare:  plainKind(client.IDMS),
	},
	{
		name: "itms", short: "ImageTagMirrorSet of OpenShift from 4.13 on",
		long:     `An ImageTagMirrorSet, for OpenShift from 4.13 on: images pulled by tag.`,
		examples: []string{"itms --host cache.local:8443 | oc apply -f -"},
		prepare:  plainKind(client.ITMS),
	},
	{
		name: "machineconfig", short: "MachineConfigs of OpenShift, for workers and masters",
		long: `Two MachineConfigs that write the drop-in for registries.conf on workers and on
masters, for images pulled by tag and by digest. The nodes restart for it, one
after the other; mirror sets (idms, itms) need no restart.`,
		examples: []string{
			"machineconfig --host cache.local:8443 | oc apply -f -",
			"machineconfig --host cache.local:8443 --only worker.yaml | oc apply -f -",
		},
		prepare: plainKind(client.MachineConfig),
	},
	{
		name: "containerd", short: "containerd, and Kubernetes with it",
		long: `A hosts.toml for each upstream, for /etc/containerd/certs.d. containerd looks
there when config_path in the registry section of its config.toml says so; ctr
has --hosts-dir. With --mode path the upstream is part of the path, with --mode
ns it is in the query that containerd adds (?ns=). Where the cache wants a
login, --username puts it into the files; the password is asked for on a
terminal, or read from standard input (--password-stdin) or a file
(--password-file).`,
		examples: []string{
			"containerd --host cache.local:8443 --output /etc/containerd/certs.d",
			"containerd --mode ns --host cache.local:8443 --only quay.io/hosts.toml",
			"containerd --host cache.local:8443 --username puller --output /etc/containerd/certs.d",
		},
		prepare: containerdHosts,
	},
	{
		name: "docker", short: "Docker, for images of docker.io",
		long: `A daemon.json for Docker. Docker mirrors docker.io and nothing else; other
images it pulls by their name on the cache, such as
cache.local:8443/quay.io/podman/hello.`,
		examples: []string{"docker --host cache.local:8443 > /etc/docker/daemon.json"},
		prepare:  dockerDaemon,
	},
	{
		name: "ca", short: "Trust in the cache's certificate",
		long: `The CA of the cache's certificate, as a ConfigMap for additionalTrustedCA of
OpenShift, and as certs.d for podman, CRI-O (/etc/containers) and Docker
(/etc/docker). It is taken from the certificate in CERTSDIR; where that does
not have its CA, --ca names a file with it.`,
		examples: []string{
			"ca --host cache.local:8443 --only certs.d/cache.local:8443/ca.crt --output /etc/containers",
			"ca --host cache.local:8443 --ca ca.pem --only configmap.yaml | oc apply -f -",
		},
		prepare: clientCA,
	},
	{
		name: "pull-secret", short: "A login for the cache, where it wants one",
		long: `An auth file with a login for the cache, for podman, Docker and Kubernetes. The
password is asked for on a terminal, or read from standard input
(--password-stdin) or a file (--password-file). --merge keeps all that an auth
file has already, such as the pull secret of an OpenShift cluster.`,
		examples: []string{
			"pull-secret --host cache.local:8443 --username puller --output .",
			"pull-secret --host cache.local:8443 --username puller --password-file password --merge pull-secret.json --output .",
		},
		prepare: clientPullSecret,
	},
}

// plainKind is a kind without flags of its own.
func plainKind(render func(client.Cache) ([]client.File, error)) func(*cobra.Command) clientMaker {
	return func(*cobra.Command) clientMaker {
		return func(r *clientRequest) ([]client.File, error) { return render(r.cache) }
	}
}

func registriesConf(cmd *cobra.Command) clientMaker {
	dropIn := cmd.Flags().Bool("drop-in", false, "a file for /etc/containers/registries.conf.d")
	return func(r *clientRequest) ([]client.File, error) {
		if *dropIn {
			return client.RegistriesDropIn(r.cache)
		}
		return client.Registries(r.cache)
	}
}

func containerdHosts(cmd *cobra.Command) clientMaker {
	mode := cmd.Flags().String("mode", string(client.ByPath), "how the upstream is named: `path` or ns")
	ca := cmd.Flags().String("ca", "", "where the node has the CA of the cache, if it does not trust it anyway")
	flags := addLoginFlags(cmd)
	return func(r *clientRequest) ([]client.File, error) {
		node := client.ContainerdNode{Mode: client.ContainerdMode(*mode), CA: *ca}
		switch {
		case node.Mode != client.ByPath && node.Mode != client.ByNamespace:
			return nil, fmt.Errorf("--mode %q: write path or ns", *mode)
		case flags.given() && r.cfg.Auth.Type == config.AuthToken:
			return nil, errors.New("--username: REGISTRY_AUTH is token here, and hosts.toml has a place for passwords alone; containerd asks the token server by itself, with the login of the image that it pulls")
		case flags.given():
			login, err := flags.read(r)
			if err != nil {
				return nil, err
			}
			node.Login = &login
		case r.cfg.Auth.Type == config.AuthHtpasswd:
			r.note("the cache wants a login, and containerd has none for it: add --username, or it goes on to the registry itself")
		}
		return client.Containerd(r.cache, node)
	}
}

// dockerDaemon says what daemon.json can't.
func dockerDaemon(*cobra.Command) clientMaker {
	return func(r *clientRequest) ([]client.File, error) {
		if r.cfg.Auth.Type != "" {
			r.note("the cache wants a login, and Docker has none for mirrors: it goes on to docker.io itself. After `docker login %s` it pulls by the names on the cache, such as %s/docker.io/library/busybox", r.cache.Host, r.cache.Host)
		}
		return client.Docker(r.cache)
	}
}

func clientCA(cmd *cobra.Command) clientMaker {
	file := cmd.Flags().String("ca", "", "a file with the CA, PEM; default what CERTSDIR has of it")
	return func(r *clientRequest) ([]client.File, error) {
		content, from := []byte(nil), "CERTSDIR"
		switch {
		case *file != "":
			var err error
			if content, err = os.ReadFile(*file); err != nil {
				return nil, fmt.Errorf("--ca: %w", err)
			}
			from = *file
		case r.cfg.TLS != nil:
			content = r.cfg.TLS.Cert
		default:
			return nil, errors.New("CERTSDIR has no certificate here; name the file with the CA of the cache: --ca ca.pem")
		}
		anchors, err := client.TrustAnchors(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; name a file with the CA: --ca ca.pem", from, err)
		}
		if r.cfg.TLS != nil {
			if err := client.CheckName(r.cache, r.cfg.TLS.Cert); err != nil {
				r.note("clients will refuse the certificate in CERTSDIR all the same: %v", err)
			}
		}
		return client.CA(r.cache, anchors)
	}
}

package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// nginxConf serves files as Debian's nginx does out of the box, with what
// helps it to serve large ones, and its log buffered as the cache's is. %s are
// its directory, the address and what TLS adds.
const nginxConf = `daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
events { worker_connections 4096; }
http {
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  access_log %[1]s/access.log combined buffer=64k flush=1s;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  types {}
  server {
    listen %[2]s%[3]s;
    root %[1]s/root;
    default_type application/octet-stream;
    location = /v2/ { default_type application/json; return 200 "{}"; }
    location ~ /manifests/ { default_type application/vnd.oci.image.manifest.v1+json; }
  }
}
`

// nginxTLS is what nginx needs for TLS, with the cipher that all others choose.
const nginxTLS = ` ssl;
    ssl_certificate %[1]s/tls.crt;
    ssl_certificate_key %[1]s/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256`

// startNginx serves the image from files, under the cache's own paths.
func startNginx(b *testing.B, img image, pair *harness.Pair) *server {
	b.Helper()
	harness.Require(b, "nginx")
	dir := harness.TempDir(b)
	s := &server{name: nginx, addr: "127.0.0.1:" + harness.FreePort(b), prefix: upstreamName + "/"}
	root := filepath.Join(dir, "root")
	manifest := place(b, img.manifest, root, s.path("manifests", img.manifest.digest))
	require.NoError(b, os.Link(manifest, filepath.Join(filepath.Dir(manifest), tag)))
	for _, c := range append([]content{img.config}, img.layers...) {
		place(b, c, root, s.path("blobs", c.digest))
	}
	secure := ""
	if pair != nil {
		s.tls = clientTLS(pair)
		secure = fmt.Sprintf(nginxTLS, dir)
		writeTLS(b, dir, pair)
	}
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(b, os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, s.addr, secure), 0o600))
	process := harness.StartProcess(b, exec.Command("nginx", "-p", dir, "-c", conf, "-e", "stderr"))
	listening(b, process, s.addr)
	s.roots = []int{process.Pid()}
	s.stop = func() {
		process.Signal(b, syscall.SIGTERM) // a killed master would leave its workers behind
		process.Wait(b)
		require.NoError(b, os.RemoveAll(root))
	}
	b.Cleanup(func() {
		if !process.Ended() {
			s.stop()
		}
	})
	return s
}

// place writes a copy of the content as the file that is served at path.
func place(b *testing.B, c content, root, path string) string {
	b.Helper()
	name := filepath.Join(root, path)
	require.NoError(b, os.MkdirAll(filepath.Dir(name), 0o755))
	from, err := c.open()
	require.NoError(b, err)
	defer func() { _ = from.Close() }()
	to, err := os.Create(name)
	require.NoError(b, err)
	_, err = io.Copy(to, from)
	require.NoError(b, err)
	require.NoError(b, to.Close())
	return name
}

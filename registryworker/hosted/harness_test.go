package hosted

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/config"
	"registrycache/images"
	"registrycache/registryworker/workertest"
	"registrycache/status"
)

func TestMain(m *testing.M) {
	// Distribution's app starts it for notifications and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

// worker is one that runs, with a client that does what the router does: it
// sends the files that the worker names.
type worker struct {
	t      *testing.T
	dir    string // of the whole cache
	store  *images.Store
	client *http.Client
	part   func() status.Part
	stop   func()
}

func start(t *testing.T, dir string) *worker {
	t.Helper()
	w := &worker{t: t, dir: dir}
	var err error
	w.store, err = images.Open(images.HostedDir(dir))
	require.NoError(t, err)
	w.client, w.stop = workertest.Start(t, w.store, func(ctx context.Context, ln net.Listener, ready func()) error {
		settings := config.HostedWorker{StoreDir: dir, Prefix: "local", Drain: time.Minute}
		return Run(ctx, settings, ln, zerolog.Nop(), ready, func(part func() status.Part) { w.part = part })
	})
	return w
}

type answer struct {
	*http.Response
	body string
}

func (a answer) code() string {
	var doc struct{ Errors []struct{ Code string } }
	if json.Unmarshal([]byte(a.body), &doc) != nil || len(doc.Errors) == 0 {
		return ""
	}
	return doc.Errors[0].Code
}

func (w *worker) do(method, path string, body []byte, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://worker"+path, bytes.NewReader(body))
	require.NoError(w.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp, string(text)}
}

// upload pushes a blob in one piece.
func (w *worker) upload(repo, content string) digest.Digest {
	w.t.Helper()
	begun := w.do("POST", "/v2/"+repo+"/blobs/uploads/", nil)
	require.Equal(w.t, 202, begun.StatusCode, begun.body)
	d := digest.FromString(content)
	ended := w.do("PUT", begun.Header.Get("Location")+"&digest="+d.String(), []byte(content))
	require.Equal(w.t, 201, ended.StatusCode, ended.body)
	return d
}

// manifest pushes a manifest of one layer.
func (w *worker) manifest(repo, ref string, layer digest.Digest, size int, more string) answer {
	w.t.Helper()
	config := w.upload(repo, "{}")
	payload := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` + more +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + config.String() + `","size":2},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + layer.String() + `","size":` + itoa(size) + `}]}`
	if ref == "" {
		ref = digest.FromString(payload).String()
	}
	return w.do("PUT", "/v2/"+repo+"/manifests/"+ref, []byte(payload), "Content-Type", "application/vnd.oci.image.manifest.v1+json")
}

func (w *worker) ref(text string) name.Reference {
	w.t.Helper()
	r, err := name.ParseReference("worker.test/"+text, name.Insecure)
	require.NoError(w.t, err)
	return r
}

func (w *worker) options() []remote.Option {
	return []remote.Option{remote.WithTransport(w.client.Transport), remote.WithRetryStatusCodes()}
}

func (w *worker) push(ref string) v1.Image {
	w.t.Helper()
	img, err := random.Image(64<<10, 3)
	require.NoError(w.t, err)
	require.NoError(w.t, remote.Write(w.ref(ref), img, w.options()...))
	return img
}

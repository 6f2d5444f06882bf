package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/warm"
)

// Everything that is wrong is said at once, before anything is sent.
func TestWarmReportsEveryMistake(t *testing.T) {
	list := filepath.Join(t.TempDir(), "images.txt")
	require.NoError(t, os.WriteFile(list, []byte("quay.io/a\nquay.io/B\n\noci:x://\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty.txt")
	require.NoError(t, os.WriteFile(empty, []byte("# nothing\n"), 0o600))
	_, err := execute(t, "warm", "--host", "cache", "--platform", "amd64", "--jobs", "65", "-f", list, "-f", empty, "-f", "nowhere.txt", "Up/Per")
	var argument *argumentError
	require.ErrorAs(t, err, &argument, "exit code 2")
	text := err.Error()
	require.Contains(t, text, "8 mistakes")
	for _, says := range []string{
		`--host "cache" has no dot and no port`, `--platform: "amd64" is not a platform`, "--jobs 65: write a number from 1 to 64",
		list + `:2: "quay.io/B": the repository has capitals`, list + `:4: "oci:x://"`, empty + ": holds no image",
		"nowhere.txt: no such file", `"Up/Per": the repository has capitals`,
	} {
		require.Contains(t, text, says)
	}
}

func TestWarmArguments(t *testing.T) {
	for args, says := range map[string]string{
		"":                                       "no image is named",
		"a --all-platforms --platform linux/arm": "give one of them",
		"a --insecure":                           "give --host, too",
		"a --host http://cache:1 --insecure":     "--host is without",
		"a --host https://cache:1 --plain-http":  "contradicts",
		"a --host ftp://cache:1":                 "ftp:// is not how a cache is reached",
		"a --host cache:1 --ca none.pem":         "no such file",
		"a --host cache:1 --ca warm_test.go":     "holds no certificate",
		"a --host cache:1 --ca x --insecure":     "give one of them",
		"a --host cache:1 --authfile none.json":  "--authfile none.json: no such file",
		"a --host cache:1 --bogus":               "unknown flag: --bogus",
		"a --host cache:1 --jobs many":           "many",
		"--host cache:1 -f http://127.0.0.1:1/x": "-f http://127.0.0.1:1/x: ",
		"--host cache:1 -f http://me:pw@[::1/x":  "what looks like a URL is none",
	} {
		_, err := execute(t, append([]string{"warm"}, strings.Fields(args)...)...)
		var argument *argumentError
		require.ErrorAs(t, err, &argument, args)
		require.ErrorContains(t, err, says, args)
		require.NotContains(t, err.Error(), "me:pw")
	}
}

func TestWarmReachesTheCache(t *testing.T) {
	for args, want := range map[string]string{
		"cache.local:8443":              "https://cache.local:8443",
		"https://cache.local/":          "https://cache.local",
		"HTTP://cache.local:80":         "http://cache.local:80",
		"cache.local:5000 --plain-http": "http://cache.local:5000",
		"cache.local:5000 --insecure":   "https://cache.local:5000",
	} {
		host, flags, _ := strings.Cut(args, " ")
		f := warmCacheFlags{host: host, plainHTTP: flags == "--plain-http", insecure: flags == "--insecure"}
		c, err := f.address(nil)
		require.NoError(t, err, args)
		require.Equal(t, want, c.Scheme+"://"+c.Host, args)
		require.NotNil(t, c.Proxy)
		if c.Scheme == "https" {
			require.Equal(t, f.insecure, c.TLS.InsecureSkipVerify)
		}
	}
}

// The proxy of the environment is for the upstreams.
func TestWarmReachesTheCacheOfTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	c, err := (&warmCacheFlags{}).connection([]string{
		"LISTEN_ADDR=:5000", "REGISTRYDIR=" + dir, "RUNDIR=" + dir, "CERTSDIR=" + dir, "HTTPS_PROXY=http://proxy:3128",
	})
	require.NoError(t, err)
	require.Equal(t, "http://localhost:5000", c.Scheme+"://"+c.Host)
	require.Nil(t, c.Proxy)
	_, err = (&warmCacheFlags{}).connection([]string{"LISTEN_ADDR=nonsense"})
	var invalid *config.InvalidError
	require.ErrorAs(t, err, &invalid, "exit code 2")
}

// The cache of the environment shows the certificate in CERTSDIR, whatever name
// is in it; any other is refused.
func TestWarmKnowsTheCacheByItsCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	get := func(cert []byte) error {
		set, err := exactly(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
		require.NoError(t, err)
		transport := &http.Transport{TLSClientConfig: set}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	require.NoError(t, get(server.Certificate().Raw))
	require.ErrorIs(t, get([]byte("another")), errOtherCertificate)
}

func TestWarmExplainsWhatMayHelp(t *testing.T) {
	local, remote := &warmCacheFlags{}, &warmCacheFlags{host: "cache.local:8443"}
	down := errors.New("connection refused")
	require.EqualError(t, local.explain(down), "connection refused; it must be running, and --host names one elsewhere")
	require.EqualError(t, remote.explain(down), "connection refused")
	refusal := &warm.Refusal{Status: http.StatusUnauthorized, Message: "log in"}
	require.EqualError(t, local.explain(refusal), "401 Unauthorized: log in", "it runs")
	require.EqualError(t, local.explain(warm.ErrInterrupted), warm.ErrInterrupted.Error())
	require.ErrorContains(t, remote.explain(&tls.CertificateVerificationError{Err: errors.New("unknown authority")}), "; --ca FILE names")
}

func TestWarmFindsTheLogin(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	const host = "cache.local:8443"
	// alice:s3:cret
	own := `{"auths":{"` + host + `":{"auth":"YWxpY2U6czM6Y3JldA=="}}}`
	alice := warm.Login{Username: "alice", Password: "s3:cret"}
	environ := []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run")}

	find := func(f warmCacheFlags) warm.Login {
		t.Helper()
		login, err := f.login(environ, host)
		require.NoError(t, err)
		return login
	}
	require.Zero(t, find(warmCacheFlags{}), "no login is none")
	write("run/containers/auth.json", `{"auths":{"quay.io":{"auth":"YTpi"}}}`)
	write(".docker/config.json", own)
	require.Equal(t, alice, find(warmCacheFlags{}), "the first file with a login for this host")
	write("run/containers/auth.json", `{"auths":{"`+host+`":{"identitytoken":"token","auth":"Ym9iOng="}}}`)
	require.Equal(t, warm.Login{Username: "bob", Password: "x", IdentityToken: "token"}, find(warmCacheFlags{}))
	require.Equal(t, alice, find(warmCacheFlags{authFile: write("own.json", own)}))

	for content, says := range map[string]string{
		`{"auths":{}}`: "has no login for " + host + "; podman login --authfile",
		`{"auths":`:    "is not an auth file",
	} {
		f := warmCacheFlags{authFile: write("bad.json", content)}
		_, err := f.login(environ, host)
		require.ErrorContains(t, err, says)
	}
	write("run/containers/auth.json", `nonsense`)
	_, err := (&warmCacheFlags{}).login(environ, host)
	require.ErrorContains(t, err, filepath.Join(dir, "run/containers/auth.json"))
}

// A list comes from standard input and from the network, too.
func TestWarmReadsLists(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/images.txt" {
			_, _ = w.Write([]byte("quay.io/a:1 # one\nquay.io/b:1\n"))
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	cmd := warmCommand()
	cmd.SetContext(t.Context())
	cmd.SetIn(strings.NewReader("quay.io/b:1\nquay.io/c:1\n"))
	f := &warmFlags{files: []string{server.URL + "/images.txt", "-"}}
	images, err := f.images(cmd, []string{"quay.io/c:1"}, "")
	require.NoError(t, err)
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
	}
	require.Equal(t, []string{"quay.io/c:1", "quay.io/a:1", "quay.io/b:1"}, names)

	cmd.SetIn(strings.NewReader("X"))
	f.files = []string{server.URL + "/none.txt", "-"}
	_, err = f.images(cmd, nil, "")
	require.ErrorContains(t, err, "/none.txt: answers 404")
	require.ErrorContains(t, err, `standard input:1: "X"`)
}

func someReport() warm.Report {
	return warm.Report{
		Took: 65 * time.Second,
		Images: []warm.Result{
			{Image: warm.Image{Name: "quay.io/a:1", Repository: "quay.io/a", Reference: "1"}, Platforms: []string{"linux/amd64"},
				Blobs: 3, Size: 3 << 20, Fetched: 2 << 20, Here: 1 << 20, Took: 1500 * time.Millisecond},
			{Image: warm.Image{Name: "b", Repository: "b", Reference: "latest"}, Blobs: 1, Size: 10, Here: 10, Notes: []string{"a note"}},
			{Image: warm.Image{Name: "c", Repository: "c", Reference: "latest"}, Err: errors.New("404 Not\x1b Found")},
		},
	}
}

func TestWarmSummary(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, warmSummary{report: someReport(), cache: "http://x"}.table(&out))
	require.Equal(t, `IMAGE        PLATFORMS    BLOBS  SIZE     FETCHED  ALREADY HERE  TIME  RESULT
quay.io/a:1  linux/amd64  3      3.0 MiB  2.0 MiB  1.0 MiB       1.5s  fetched
b            -            1      10 B     0 B      10 B          0s    already here (a note)
c            -            0      0 B      0 B      0 B           0s    failed: 404 Not? Found

3 images: 2.0 MiB fetched, 1.0 MiB already here, in 1m5s; 1 failed
`, out.String())

	out.Reset()
	require.NoError(t, warmSummary{report: someReport(), dryRun: true}.table(&out))
	require.Contains(t, out.String(), "TO FETCH")
	require.Contains(t, out.String(), "to be fetched\n")

	raw, err := json.Marshal(warmSummary{report: someReport(), cache: "http://x"}.json())
	require.NoError(t, err)
	require.JSONEq(t, `{"cache":"http://x","dryRun":false,"failed":1,"seconds":65,"images":[
		{"name":"quay.io/a:1","repository":"quay.io/a","reference":"1","platforms":["linux/amd64"],"blobs":3,"sizeBytes":3145728,
			"fetchedBytes":2097152,"alreadyHereBytes":1048576,"seconds":1.5,"result":"fetched"},
		{"name":"b","repository":"b","reference":"latest","platforms":[],"blobs":1,"sizeBytes":10,"fetchedBytes":0,
			"alreadyHereBytes":10,"seconds":0,"result":"already here","notes":["a note"]},
		{"name":"c","repository":"c","reference":"latest","platforms":[],"blobs":0,"sizeBytes":0,"fetchedBytes":0,
			"alreadyHereBytes":0,"seconds":0,"result":"failed","error":"404 Not\u001b Found"}]}`, string(raw))
}

var someBlob = warm.Blob{Repository: "quay.io/a", Digest: digest.FromString("a"), Size: 100 << 20}

func TestWarmLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newWarmLines(&out)
		l.LookedUp(3, 10)
		time.Sleep(meterEvery)
		synctest.Wait()
		l.Fetching(someBlob.Size / 2)
		time.Sleep(meterEvery)
		synctest.Wait()
		l.Fetching(someBlob.Size)
		l.LookedUp(10, 10)
		l.ImageBegun("quay.io/a:1", 1, someBlob.Size)
		l.BlobBegun(someBlob)
		l.BlobAt(someBlob, 50<<20)
		l.Retrying("quay.io/a sha256:1", errors.New("503 Service\nUnavailable"), 2*time.Second)
		time.Sleep(meterEvery)
		synctest.Wait()
		l.BlobAt(someBlob, someBlob.Size)
		l.BlobDone(someBlob, nil)
		l.ImageDone(someReport().Images[0])
		l.ImageDone(someReport().Images[1])
		l.ImageDone(someReport().Images[2])
		l.end()
		require.Equal(t, `looked up 3 of 10
fetched 0 B of at least 50 MiB; looked up 3 of 10
quay.io/a:1: fetching 1 blob, 100 MiB
quay.io/a sha256:1: 503 Service?Unavailable; again in 2s
fetched 50 MiB of 100 MiB, 50 %, 2.5 MiB/s, 20s left
quay.io/a:1: done, 2.0 MiB in 1.5s
b: already here, 10 B
c: failed: 404 Not? Found
`, out.String())
	})
}

func TestWarmRetriesAreToldInModeration(t *testing.T) {
	var r warmRetries
	now := time.Now()
	down := errors.New("down")
	for i := range 3000 {
		require.Equal(t, i < maxRetryLines, r.line(now, "a", down, time.Second) != "")
	}
	require.Equal(t, "a: down; again in 2s (2990 more are not listed)", r.line(now.Add(meterEvery), "a", down, 2*time.Second))
	require.Equal(t, "b: down; again in 1s", r.line(now.Add(meterEvery), "b", down, time.Second))
}

// What failed is not among what is left.
func TestWarmTally(t *testing.T) {
	var tally warmTally
	tally.grow(3 * someBlob.Size)
	other, third := someBlob, someBlob
	other.Repository, third.Repository = "quay.io/b", "quay.io/c"
	tally.at[someBlob], tally.at[other], tally.at[third] = 10, 20, 30
	require.EqualValues(t, 60, tally.done())
	tally.end(someBlob, nil)
	tally.end(other, errors.New("failed"))
	require.Equal(t, someBlob.Size+30, tally.done())
	require.Equal(t, 2*someBlob.Size, tally.total())
	tally.grow(4 * someBlob.Size)
	require.Equal(t, 3*someBlob.Size, tally.total(), "it grows, and what failed stays out")
}

// The bars come to an end at whatever point the run does.
func TestWarmBarsEnd(*testing.T) {
	for steps := range 9 {
		var out bytes.Buffer
		b := newWarmBars(&out)
		for i, step := range []func(){
			func() { b.LookedUp(1, 2) },
			func() { b.Fetching(someBlob.Size) },
			func() { b.Fetching(2 * someBlob.Size) },
			func() { b.LookedUp(2, 2) },
			func() { b.BlobBegun(someBlob); b.BlobBegun(warm.Blob{}) },
			func() { b.BlobAt(someBlob, 50); b.BlobAt(someBlob, someBlob.Size) },
			func() { b.Retrying("x", errors.New("y"), time.Second) },
			func() { b.BlobDone(someBlob, nil); b.ImageDone(someReport().Images[0]) },
		} {
			if i < steps {
				step()
			}
		}
		b.end()
	}
}

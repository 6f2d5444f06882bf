package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"

	"registrycache/logger/accesslog"
	"registrycache/warm"
)

// maxList bounds what is read of a list, in bytes: some hundred thousand names.
const maxList = 32 << 20

// listTimeout is how long a list at a URL may take to come.
const listTimeout = time.Minute

// images reads the arguments and the lists. The error carries every mistake.
func (f *warmFlags) images(cmd *cobra.Command, args []string, cache string) ([]warm.Image, error) {
	if len(args) == 0 && len(f.files) == 0 {
		return nil, errors.New("no image is named; write registry-cache warm quay.io/podman/hello:latest, or -f FILE with one image a line")
	}
	names := warm.Names{Cache: cache}
	var images []warm.Image
	var mistakes *multierror.Error
	for _, text := range args {
		image, err := names.Parse(text)
		if err != nil {
			mistakes = multierror.Append(mistakes, err)
			continue
		}
		images = append(images, image)
	}
	for _, file := range f.files {
		listed, err := readList(cmd, names, file)
		if err == nil && len(listed) == 0 {
			err = fmt.Errorf("%s: holds no image; write one a line, such as quay.io/podman/hello:latest", file)
		}
		mistakes = multierror.Append(mistakes, err)
		images = append(images, listed...)
	}
	return warm.Distinct(images), mistakes.ErrorOrNil()
}

func readList(cmd *cobra.Command, names warm.Names, file string) ([]warm.Image, error) {
	r, err := openList(cmd, file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if file == "-" {
		file = "standard input"
	}
	limited := &io.LimitedReader{R: r, N: maxList + 1}
	images, err := names.ReadList(limited, file)
	if limited.N == 0 {
		return nil, fmt.Errorf("%s: is larger than %s; is it a list of images?", file, sizeText(maxList))
	}
	return images, err
}

func openList(cmd *cobra.Command, file string) (io.ReadCloser, error) {
	scheme, _, isURL := strings.Cut(file, "://")
	switch {
	case file == "-":
		return io.NopCloser(cmd.InOrStdin()), nil
	case isURL && (scheme == "http" || scheme == "https"):
		return getList(cmd, file)
	}
	opened, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("-f: %w", err)
	}
	return opened, nil
}

// getList starts the download of a list.
func getList(cmd *cobra.Command, address string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("-f: what looks like a URL is none; write a file, - or such as https://example.com/images.txt")
	}
	request.Header.Set("User-Agent", warmAgent())
	client := http.Client{Timeout: listTimeout}
	response, err := client.Do(request)
	if err != nil {
		var plain *url.Error
		if errors.As(err, &plain) {
			err = plain.Err
		}
		return nil, fmt.Errorf("-f %s: %w", request.URL.Redacted(), err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("-f %s: answers %s", request.URL.Redacted(), response.Status)
	}
	return response.Body, nil
}

func warmAgent() string { return accesslog.WarmAgent + version }

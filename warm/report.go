package warm

import "time"

// Report is what became of a run.
type Report struct {
	// Images are in the order they were given.
	Images []Result
	Took   time.Duration
}

// Failed is how many images are not here as a whole.
func (r Report) Failed() int {
	n := 0
	for _, image := range r.Images {
		if image.Err != nil {
			n++
		}
	}
	return n
}

// Result is what became of one image. Sizes are in bytes.
type Result struct {
	Image Image
	// Platforms are those that were taken of an index, as os/architecture with
	// the variant if there is one.
	Platforms []string
	// Blobs are its configs and layers, and Size is that of all of them.
	Blobs int
	Size  int64
	// Fetched came from the upstream for this run, or would come in a dry run;
	// Here was in the cache already, for another image of this run perhaps.
	Fetched, Here int64
	// Notes are worth knowing and no failure.
	Notes []string
	// Took is from the beginning of its first request to the end of its last,
	// less the wait for other images between lookup and fetch.
	Took time.Duration
	// Err is why it is not here as a whole, or nil.
	Err error
}

package status

import "time"

// Store is what the cache takes of the disk.
type Store struct {
	// Used is the disk space of blobs and fills, as far as it is known without
	// a walk; Time is when it was measured.
	Used int64     `json:"used"`
	Time time.Time `json:"time"`
	// Limit is what a clean goes down to, and Start what starts one; 0 is none.
	Limit int64 `json:"limit"`
	Start int64 `json:"start"`
	// DiskFree and DiskSize are the file system's, MinFree what starts a clean.
	DiskFree int64     `json:"disk_free"`
	DiskSize int64     `json:"disk_size"`
	MinFree  int64     `json:"min_free"`
	Quotas   []Quota   `json:"quotas,omitempty"`
	Running  bool      `json:"running"` // a clean is under way
	Next     time.Time `json:"next,omitzero"`
	Last     *Clean    `json:"last,omitempty"`
}

// Quota is the limit of one upstream.
type Quota struct {
	Path string `json:"path"`
	// Used is as the last survey found it, 0 before the first.
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
}

// Clean is a clean that evicted something, or would have had to, or failed.
type Clean struct {
	// Time is when it ended.
	Time    time.Time `json:"time"`
	Took    Seconds   `json:"took"`
	Before  int64     `json:"before"`
	After   int64     `json:"after"`
	Images  int       `json:"images"`
	Blobs   int       `json:"blobs"`
	Missing int64     `json:"missing,omitempty"` // what more should have gone
	Error   string    `json:"error,omitempty"`
}

// Hosted is what was pushed.
type Hosted struct {
	Prefix       string `json:"prefix"`
	Repositories int    `json:"repositories"`
	Tags         int    `json:"tags"`
	// Used is its disk space.
	Used int64 `json:"used"`
}

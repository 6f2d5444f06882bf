package fill

import "sync"

// buffer is large enough that system calls and wake-ups don't count, and small
// enough to stay in the processor's cache.
type buffer [256 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

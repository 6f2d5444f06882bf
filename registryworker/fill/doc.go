// Package fill brings blobs into the store: one transfer from the upstream per
// blob, and any number of readers that follow it while it runs.
//
// What it guarantees:
//
//   - Of a blob that any number of clients want, at any offsets, each byte is
//     asked of the upstream once; a reader gets it as soon as it is written.
//   - A fill belongs to no client. When all have left it goes on to the end, and
//     a slow one delays neither the fill nor another.
//   - Nothing wrong is stored, and no reader that follows a fill gets the last
//     byte of a blob before the digest of all of it was found right.
//   - Broken connections, stalls, short answers, 5xx and 429 are the fill's
//     business: it goes on where the bytes ended, and readers only wait. When it
//     gives up they get an error, never an early io.EOF.
//   - What is on the disk survives kill -9 and a restart, and is not fetched
//     again.
//   - A store that can't be written fails no pull: readers go on with requests of
//     their own (see Reader.Stored).
//   - Memory depends on the number of connections, not on sizes or readers.
//
// How the parts fit:
//
//	Engine    one fill a digest; who takes part; what is stored already
//	fill      from the first request to commit and links; tries again after wrong bytes
//	transfer  one try: the file, which bytes it has, who waits for which
//	stream    one connection: asks for a claim, writes it, tries again
//	verifier  hashes the file in order, behind the streams
//	Reader    reads the file as it grows, or grants it to another process to
//	          read, or goes direct to the upstream
//
// Reads that several readers could share but the file can't hold are not shared:
// a bounded number of them goes to the upstream at once.
//
// When the bytes turn out wrong, readers that had some of them get
// ErrWrongDigest; a mixture of two tries would be worse than an error. Readers
// that had none yet, all those of small blobs among them, go over to the second
// try and notice nothing.
package fill

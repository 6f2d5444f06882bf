// Package supervisor is the first process of registry-cache: it owns every
// listening socket and the table of child processes (workers, router, logger,
// cleaner), and does nothing else that could make it fail.
//
// It guarantees that
//   - a child that dies costs only its own requests in flight: the sockets stay
//     open here and queue connections until the next process accepts them;
//   - a child that keeps dying is started again with growing pauses, and
//     touches no other;
//   - one that hangs, and answers nothing for a minute and a half, is killed
//     and started again;
//   - a worker's credentials reach that worker alone, over a pipe, never by
//     argument, environment, file or log;
//   - children end with the supervisor, also when it is killed;
//   - a reload touches only what changed, and a configuration with mistakes
//     changes nothing.
//
// It also tells how the whole is doing: the metrics of all processes as one set,
// and their parts of the state of the cache as one status.Document.
//
// The role packages are not imported: package child is the other side of the
// contract.
package supervisor

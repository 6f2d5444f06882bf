// Package bench measures the cache beside others that serve the same bytes, on
// one machine in one run: nginx that serves files, haproxy with Debian's
// docker-registry as a pull-through cache, and, for what is not cached yet, a
// client straight at the upstream. All are the real programs, on loopback.
//
// `make bench` runs it all, prints a table for each section and writes it into
// docs/BENCHMARKS.md. A plain `go test` runs none of it.
//
// A section is a list of rows (hits, misses). A row starts the servers it
// needs, warms them up, has them take turns for some rounds, and returns one
// series of samples for each figure that it took. What a series should reach is
// its goal, which the table shows beside the medians.
//
// Processor time is that of all of a contestant's processes, children
// included, from /proc; the load comes from this process and is not counted,
// nor is the simulated upstream, which is here too. Memory is the proportional
// set size of the same processes. Two cores serve the load and the contestants,
// so that requests a second compare contestants with each other, and with
// nothing else.
package bench

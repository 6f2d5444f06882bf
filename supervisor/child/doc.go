// Package child is the side of the supervisor's contract that lives in its
// child processes: the whole life of one role, from the settings on an
// inherited pipe to the end.
//
// A child inherits, besides stdin, stdout and stderr:
//
//	fd 3  the control pipe: JSON values, one a line. The first is the role's
//	      settings, each later one replaces them. Its end means that the
//	      supervisor is gone, and the process ends at once.
//	fd 4  a listening unix socket for GET /healthz (answers once the role is
//	      ready, with what degrades it, if anything), GET /metrics, GET /status
//	      (its part of the state of the cache) and, if the settings say so,
//	      profiles.
//	fd 5  the role's own listening socket, or /dev/null for roles that serve
//	      nothing.
//
// SIGTERM asks a child to finish what is in flight and end. SIGINT and SIGHUP
// are ignored: they are meant for the supervisor alone.
//
// Logs are zerolog's JSON lines on stderr, without the process's name; the
// supervisor adds it.
package child

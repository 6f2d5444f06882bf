// Package statuspage is what a browser sees at the main address: the state of
// the whole cache, rendered here, and kept up to date while somebody looks.
//
// The supervisor is asked for the state over a unix socket, at most once a
// second however many look, and never when nobody does. Nothing here changes
// anything, holds a secret, or comes from another host: the page is sent with a
// Content-Security-Policy that allows its own style sheet, script and icon alone.
//
// It works without a script. With it, the sections that changed are sent over
// server-sent events (the HTML standard, section 9.2) and put in place.
//
// Who may look is decided before a request gets here.
package statuspage

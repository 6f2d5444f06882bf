// Package config turns what an operator wrote (environment, pull secret,
// CONFIG_FILE, certificates, htpasswd) into validated settings, one struct a
// process role.
//
// It is the only package that reads the environment. Every mistake found is
// reported, all together, each naming its variable or file and the right form.
// Loading has no side effects, so a reload that fails leaves everything as it
// was.
package config

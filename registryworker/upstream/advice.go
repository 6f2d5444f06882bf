package upstream

import (
	"net/url"
	"strings"

	"registrycache/config"
)

// settled notes what became of a request that was sent with a header, and adds
// to its error what the operator can do.
func (a *authorizer) settled(u *url.URL, repo, used string, failed *Error) {
	cred := a.credentialFor(u, repo)
	basic := strings.HasPrefix(used, "Basic ")
	switch {
	case cred != nil && basic && failed == nil:
		a.health.accepted(cred)
	case cred != nil && basic && failed.Kind == Unauthorized:
		a.health.refused(cred, failed)
	}
	if failed == nil || origin(u) != a.origin {
		return
	}
	if failed.Kind == Unauthorized && used == "" {
		failed.refused = true // it gives nothing to those who can't log in
	}
	if failed.Kind == Unauthorized && strings.HasPrefix(used, "Bearer ") {
		// The token server was content, so it is about this repository.
		// Docker Hub answers so for one that does not exist.
		failed.hint = "check the name; if it is private, add credentials for " + a.report.upstream + " to the pull secret"
		if cred != nil {
			failed.hint = "check the name, and that the account for " + a.health.key(cred) + " in the pull secret may pull it"
		}
	}
	a.advise(failed, cred)
}

// advise adds what the operator can do about a refusal.
func (a *authorizer) advise(e *Error, cred *config.Credential) {
	if e.hint != "" {
		return
	}
	switch {
	case e.Kind == Unauthorized && cred == nil:
		e.hint = "add credentials for " + a.report.upstream + " to the pull secret"
	case e.Kind == Unauthorized && !hasPassword(cred):
		e.hint = "the identity token for " + a.health.key(cred) + " in the pull secret may have expired, or user and password are wanted"
	case e.Kind == Unauthorized:
		e.hint = "check the credentials for " + a.health.key(cred) + " in the pull secret"
	case e.Kind == Denied && cred == nil:
		e.hint = "credentials for " + a.report.upstream + " in the pull secret may be needed"
	case e.Kind == Denied:
		e.hint = "the account for " + a.health.key(cred) + " in the pull secret may not pull this"
	case e.Kind == RateLimited && cred == nil:
		e.hint = "credentials for " + a.report.upstream + " in the pull secret may raise the limit"
	}
}

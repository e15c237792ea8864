package observe

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	hidden     = "xxxxx"
	unreadable = "xxxxx (not a readable URL)"
)

// Redact returns rawURL with every password replaced by xxxxx, fit for logs and error messages. It reads
// URLs (postgres://, redis://, rediss://; passwords in the user part and in parameters such as
// sentinel_password). What it cannot read for certain, such as a password with an unescaped / or @, or
// libpq's key=value strings, becomes a placeholder as a whole. An empty string stays empty.
func Redact(rawURL string) string {
	text, _ := redact(rawURL)
	return text
}

// Secrets returns the passwords in rawURL, for HealthOptions.Secrets. Where Redact gives its placeholder,
// the whole string is the secret.
func Secrets(rawURL string) []string {
	_, secrets := redact(rawURL)
	return secrets
}

// Scrub returns text, such as the error of a driver, with the passwords of the URLs replaced by xxxxx,
// however they are spelled in it. Where Redact gives its placeholder for a URL, that whole URL goes.
func Scrub(text string, urls ...string) string {
	var secrets []string
	for _, u := range urls {
		secrets = append(secrets, Secrets(u)...)
	}
	return newScrubber(secrets).Replace(text)
}

func redact(raw string) (text string, secrets []string) {
	if strings.TrimSpace(raw) == "" {
		return "", nil
	}
	text, secrets, ok := redactURL(raw)
	if !ok {
		return unreadable, []string{raw}
	}
	return text, secrets
}

func redactURL(raw string) (text string, secrets []string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return "", nil, false
	}
	// An @ behind the host means that the password held an unescaped / or @, and was cut apart there.
	if strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return "", nil, false
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", nil, false
	}
	if password, set := u.User.Password(); set {
		secrets = append(secrets, password)
	} else if user := u.User.Username(); user != "" && strings.HasPrefix(u.Scheme, "redis") {
		// redis://secret@host is a common slip for redis://:secret@host.
		secrets = append(secrets, user)
		u.User = url.User(hidden)
	}
	for key, values := range query {
		if secretKey(key) {
			secrets = append(secrets, values...)
			query[key] = []string{hidden}
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted(), secrets, true
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "password") || strings.Contains(key, "secret")
}

// newScrubber replaces each secret, plain or as it is spelled in a URL or a quoted string, by xxxxx.
func newScrubber(secrets []string) *strings.Replacer {
	var forms []string
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		user := url.UserPassword("", s).String()
		forms = append(forms, s, url.QueryEscape(s), url.PathEscape(s), user[1:], quoted[1:len(quoted)-1])
	}
	// The longest first: a secret that holds another one must go as a whole.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, f := range forms {
		if f != "" {
			pairs = append(pairs, f, hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

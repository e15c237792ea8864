package observe

import (
	"net/url"
	"strings"
)

const (
	hidden     = "xxxxx"
	unreadable = "xxxxx (not a readable URL)"
)

// Redact returns rawURL fit for logs and error messages: xxxxx replaces the password in the user part and every
// parameter that is not known to be harmless. A URL that is not Readable becomes a placeholder as a whole. An
// empty string stays empty.
func Redact(rawURL string) string {
	switch {
	case strings.TrimSpace(rawURL) == "":
		return ""
	case !Readable(rawURL):
		return unreadable
	default:
		return scrubURL(rawURL)
	}
}

// Readable reports whether it is certain where the password of a URL (postgres://, redis://, rediss://)
// begins and ends. It is not where the password holds an unescaped / ? # @ % or space, and in libpq's
// key=value strings: libraries then take a part of it for a host or a path, and show it in their errors.
func Readable(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return false
	}
	// An @ behind the host means that the password held an unescaped / ? # or @, and was cut apart there.
	// Go and pgx disagree about what a # begins.
	if strings.Contains(u.Path+u.RawQuery, "@") || strings.Contains(rawURL, "#") {
		return false
	}
	// Go takes the last @ for the end of the password, pgx the first.
	if strings.Count(rawURL, "@") > 1 {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return false
	}
	_, hasPassword := u.User.Password()
	// A %3A between user and password makes both the user.
	return (hasPassword || !strings.Contains(u.User.Username(), ":")) && !strings.Contains(query.Get("user"), ":")
}

// Scrub returns text, such as the error of a driver, with the passwords of the URLs and of the assignments
// (password=…) in it replaced by xxxxx. It knows no passwords and looks at structure alone, so that words
// stay as they are: a replaced word would reveal a password to a reader who knows the text.
func Scrub(text string) string {
	var b strings.Builder
	for {
		start, end := findURL(text)
		if start < 0 {
			b.WriteString(scrubAssignments(text, false))
			return b.String()
		}
		b.WriteString(scrubAssignments(text[:start], false))
		b.WriteString(scrubURL(text[start:end]))
		text = text[end:]
	}
}

// findURL returns where the first URL of text begins and ends; -1 where there is none. One in quotes ends
// with them, another with the next white space.
func findURL(text string) (start, end int) {
	colon := strings.Index(text, "://")
	if colon < 0 {
		return -1, -1
	}
	start = colon
	for start > 0 && inScheme(text[start-1]) {
		start--
	}
	if start > 0 && strings.IndexByte("\"'`", text[start-1]) >= 0 {
		if length := quoted(text[start:], text[start-1]); length >= 0 {
			return start, start + length
		}
	}
	if space := strings.IndexAny(text[start:], " \t\r\n"); space >= 0 {
		return start, start + space
	}
	return start, len(text)
}

func inScheme(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
}

// quoted returns the length of text before the quote that ends it; -1 where there is none.
func quoted(text string, quote byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case quote:
			return i
		}
	}
	return -1
}

// scrubURL hides what stands between user and host, and secret parameters.
func scrubURL(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	hide := func(text string) string { return scrubParameters(scheme, text) }
	if strings.HasPrefix(strings.ToLower(scheme), "http") { // no server of this program, so nothing is known of its parameters
		hide = func(text string) string { return scrubAssignments(text, true) }
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return scheme + "://" + hide(rest)
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	switch {
	case hasPassword:
		user += ":" + hidden
	case strings.HasPrefix(strings.ToLower(scheme), "redis"), strings.Contains(user, "%"):
		user = hidden // redis://secret@host is a common slip for redis://:secret@host, user%3Asecret for user:secret
	}
	return scheme + "://" + user + hide(rest[at:])
}

// scrubParameters hides what follows the path of a URL, except harmless parameters.
func scrubParameters(scheme, text string) string {
	text, _, hasFragment := strings.Cut(text, "#")
	path, query, hasQuery := strings.Cut(text, "?")
	if hasQuery {
		parameters := strings.Split(query, "&")
		for i, p := range parameters {
			parameters[i] = scrubParameter(scheme, p)
		}
		path += "?" + strings.Join(parameters, "&")
	}
	if hasFragment {
		path += "#" + hidden
	}
	return path
}

func scrubParameter(scheme, parameter string) string {
	key, value, assigned := strings.Cut(parameter, "=")
	switch {
	case harmless(scheme, key) && plain(value):
		return parameter
	case assigned && (harmless(scheme, key) || passwordKey(key)):
		return key + "=" + hidden
	}
	return hidden
}

// scrubAssignments hides the values of keys such as password, as a URL's parameters or as in libpq's strings.
func scrubAssignments(text string, parameters bool) string {
	var b strings.Builder
	for {
		equals := strings.IndexByte(text, '=')
		if equals < 0 {
			b.WriteString(text)
			return b.String()
		}
		before := strings.TrimRight(text[:equals], " \t")
		key := before[strings.LastIndexAny(before, " \t\r\n&?;,\"'`(")+1:]
		b.WriteString(text[:equals+1])
		text = text[equals+1:]
		length := valueLength(text, parameters)
		switch {
		case secretKey(key), parameters && strings.Contains(text[:length], "%40"): // a separate user part
			b.WriteString(hidden)
			text = text[length:]
		}
	}
}

// valueLength returns the length of the value that text begins with, white space before it included.
func valueLength(text string, parameter bool) int {
	if parameter {
		if end := strings.IndexAny(text, "& \t\r\n"); end >= 0 {
			return end
		}
		return len(text)
	}
	value := strings.TrimLeft(text, " \t")
	skipped := len(text) - len(value)
	if value != "" && (value[0] == '\'' || value[0] == '"') {
		if length := quoted(value[1:], value[0]); length >= 0 {
			return skipped + 1 + length + 1
		}
		return len(text) // no end: all of it may be the password
	}
	if end := strings.IndexAny(value, " \t\r\n"); end >= 0 {
		return skipped + end
	}
	return len(text)
}

func secretKey(key string) bool {
	if decoded, err := url.QueryUnescape(key); err == nil {
		key = decoded
	}
	key = strings.ToLower(key)
	return strings.Contains(key, "password") || strings.Contains(key, "passwd") || strings.Contains(key, "secret")
}

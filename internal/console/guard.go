package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	cookieName = "processor_console"
	// sessionTime is how long a browser stays signed in; a restart of the console ends all sessions.
	sessionTime = 12 * time.Hour
	// changeHeader carries guard.change: a page of another origin can neither read it nor send the header.
	changeHeader = "X-Console-Change"
	maxForm      = 4 << 10
)

// guard decides who may ask. Its methods are pure but for the clock.
type guard struct {
	token string
	hosts []string
	// key signs session cookies, and change is asked of every request that changes something. Both are random.
	key, change string
}

// knownHost reports whether a browser may call the console by this Host header. A page of another site whose name is made to
// point here (DNS rebinding) has a name of that site; an address or localhost cannot be made to point elsewhere.
func (g *guard) knownHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	same := func(name string) bool { return strings.EqualFold(name, host) }
	return host != "" && (net.ParseIP(host) != nil || same("localhost") || slices.ContainsFunc(g.hosts, same))
}

// isToken compares in constant time, whatever the lengths.
func (g *guard) isToken(text string) bool {
	want, got := sha256.Sum256([]byte(g.token)), sha256.Sum256([]byte(text))
	return g.token != "" && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// session is the value of a cookie that is valid until a time: "<unix seconds>.<signature>".
func (g *guard) session(until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(g.key))
	mac.Write([]byte(end))
	return end + "." + hex.EncodeToString(mac.Sum(nil))
}

func (g *guard) isSession(value string, now time.Time) bool {
	end, _, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(end, 10, 64)
	if err != nil || now.Unix() >= seconds {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(g.session(time.Unix(seconds, 0))), []byte(value)) == 1
}

// knows reports whether a request comes from somebody who has the token, where one is set.
func (g *guard) knows(r *http.Request, now time.Time) bool {
	if g.token == "" {
		return true
	}
	if bearer, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); is && g.isToken(bearer) {
		return true
	}
	cookie, err := r.Cookie(cookieName)
	return err == nil && g.isSession(cookie.Value, now)
}

// mayChange reports whether a request that changes something comes from the console's own page.
func (g *guard) mayChange(r *http.Request) bool {
	return subtle.ConstantTimeCompare([]byte(g.change), []byte(r.Header.Get(changeHeader))) == 1
}

// policy allows what the page itself has, and nothing inline, evaluated or from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

// protect answers requests that next must not see: of an unknown host, from another origin, without the token.
func (g *guard) protect(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		public := slices.Contains([]string{"/login", "/style.css", "/icon.svg"}, r.URL.Path)
		switch {
		case !g.knownHost(r.Host):
			http.Error(w, "this console does not answer to this host name; add it with --host (CONSOLE_HOST)", http.StatusMisdirectedRequest)
		case sameOrigin.Check(r) != nil:
			http.Error(w, "a page of another origin may not send this", http.StatusForbidden)
		case public || g.knows(r, time.Now()):
			next.ServeHTTP(w, r)
		case r.URL.Path == "/":
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			fail(w, http.StatusUnauthorized, "the token is missing: open / in a browser, or send Authorization: Bearer TOKEN")
		}
	})
}

// login answers the form of login.html.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "not a form", http.StatusBadRequest)
		return
	}
	if !s.guard.isToken(strings.TrimSpace(r.PostForm.Get("token"))) {
		s.config.Logger.Warn("console: wrong token", "remote", r.RemoteAddr)
		http.Redirect(w, r, "/login?wrong", http.StatusSeeOther)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: s.guard.session(time.Now().Add(sessionTime)), Path: "/", MaxAge: int(sessionTime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

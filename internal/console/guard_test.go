package console

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGuard_KnowsItsHosts(t *testing.T) {
	g := guard{hosts: []string{"console.example.org"}}
	for _, host := range []string{"127.0.0.1:8090", "localhost:8090", "LOCALHOST", "[::1]:8090", "[::1]", "192.168.1.7:1", "console.example.org", "Console.Example.org:443"} {
		require.True(t, g.knownHost(host), host)
	}
	for _, host := range []string{"", ":8090", "evil.example", "evil.example:8090", "127.0.0.1.evil.example:8090", "localhost.evil.example", "a.console.example.org", "127.0.0.1evil:8090", "[evil]:1"} {
		require.False(t, g.knownHost(host), host)
	}
}

func TestGuard_ComparesTokens(t *testing.T) {
	g := guard{token: "sixteen-bytes-ok"}
	require.True(t, g.isToken("sixteen-bytes-ok"))
	for _, other := range []string{"", "sixteen-bytes-o", "sixteen-bytes-ok ", "SIXTEEN-BYTES-OK"} {
		require.False(t, g.isToken(other), other)
	}
	require.False(t, (&guard{}).isToken(""), "no token is no token that anybody knows")
}

func TestGuard_SessionsEndAndAreNotForged(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g, other := guard{key: "one"}, guard{key: "two"}
	value := g.session(now.Add(time.Hour))
	require.True(t, g.isSession(value, now))
	require.False(t, g.isSession(value, now.Add(time.Hour)), "it has ended")
	require.False(t, other.isSession(value, now), "of another process")
	end, signature, _ := strings.Cut(value, ".")
	for _, forged := range []string{"", ".", end, end + ".", "9" + end + "." + signature, value + "0", "x." + signature, "+" + value} {
		require.False(t, g.isSession(forged, now), forged)
	}
}

// asked is an answer of a console that has no servers: it needs none for these.
func asked(t *testing.T, c Config, request func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	c.Addr, c.RedisURL, c.DatabaseURL, c.Streams, c.Group = "127.0.0.1:0", "redis://127.0.0.1:1", "postgres://127.0.0.1:1/d", []string{"telemetry:t"}, "processor"
	s, err := New(c)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	r := httptest.NewRequest(http.MethodGet, "/api/state", nil)
	r.Host = s.Addr()
	request(r)
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w
}

func TestServer_RefusesWhatItMust(t *testing.T) {
	const token = "a-token-of-the-tests"
	secret := Config{Token: token}
	post := func(path, body string) func(*http.Request) {
		return func(r *http.Request) {
			*r = *httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Host = "127.0.0.1"
		}
	}
	and := func(first func(*http.Request), name, value string) func(*http.Request) {
		return func(r *http.Request) { first(r); r.Header.Set(name, value) }
	}
	path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
	replay := post("/api/replay", `{"stream":"telemetry:t","ids":["1-1"]}`)
	cases := map[string]struct {
		config  Config
		request func(*http.Request)
		status  int
	}{
		"loopback, no token":            {Config{}, func(*http.Request) {}, http.StatusOK},
		"DNS rebinding":                 {Config{}, func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
		"DNS rebinding of the page":     {Config{}, func(r *http.Request) { r.Host, r.URL.Path = "evil.example:8090", "/" }, http.StatusMisdirectedRequest},
		"a name that was added":         {Config{Hosts: []string{"c.example"}}, func(r *http.Request) { r.Host = "c.example:8090" }, http.StatusOK},
		"token missing":                 {secret, func(*http.Request) {}, http.StatusUnauthorized},
		"token missing, letters":        {secret, path("/api/letters"), http.StatusUnauthorized},
		"token missing, script":         {secret, path("/app.js"), http.StatusUnauthorized},
		"token missing, page":           {secret, path("/"), http.StatusSeeOther},
		"sign in":                       {secret, path("/login"), http.StatusOK},
		"style of the sign-in page":     {secret, path("/style.css"), http.StatusOK},
		"token wrong":                   {secret, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") }, http.StatusUnauthorized},
		"token in the URL":              {secret, func(r *http.Request) { r.URL.RawQuery = "token=" + token }, http.StatusUnauthorized},
		"token":                         {secret, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, http.StatusOK},
		"cookie forged":                 {secret, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: "99999999999.00"}) }, http.StatusUnauthorized},
		"replay, read-only":             {Config{}, replay, http.StatusForbidden},
		"replay by GET":                 {Config{AllowChanges: true}, path("/api/replay"), http.StatusMethodNotAllowed},
		"replay without the header":     {Config{AllowChanges: true}, replay, http.StatusForbidden},
		"replay with a wrong header":    {Config{AllowChanges: true}, and(replay, changeHeader, "x"), http.StatusForbidden},
		"replay from another site":      {Config{AllowChanges: true}, and(replay, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"replay from another origin":    {Config{AllowChanges: true}, and(replay, "Origin", "http://127.0.0.1:9999"), http.StatusForbidden},
		"sign in from another site":     {secret, and(post("/login", "token="+token), "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"other methods":                 {Config{}, func(r *http.Request) { r.Method = http.MethodDelete }, http.StatusMethodNotAllowed},
		"files beside the page":         {Config{}, path("/../console.go"), http.StatusTemporaryRedirect},
		"what is not there":             {Config{}, path("/page/app.js"), http.StatusNotFound},
		"coordinates hidden: track":     {Config{}, path("/api/track"), http.StatusForbidden},
		"coordinates hidden: fleet":     {Config{}, path("/api/fleet"), http.StatusForbidden},
		"another stream":                {Config{}, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/letters", "stream=other" }, http.StatusBadRequest},
		"another stream, one letter":    {Config{}, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/letter", "stream=other&id=1-1" }, http.StatusBadRequest},
		"Redis away":                    {Config{}, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/letters", "stream=telemetry:t" }, http.StatusBadGateway},
		"an empty search":               {Config{}, path("/api/trace"), http.StatusBadRequest},
		"PostgreSQL away":               {Config{ShowPositions: true}, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/track", "device=a&minutes=5" }, http.StatusBadGateway},
		"minutes that are out of range": {Config{ShowPositions: true}, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/api/track", "device=a&minutes=99999" }, http.StatusBadRequest},
	}
	for name, c := range cases {
		w := asked(t, c.config, c.request)
		require.Equal(t, c.status, w.Code, "%s: %s", name, w.Body)
		require.Equal(t, policy, w.Header().Get("Content-Security-Policy"), name)
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"), name)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), name)
		require.NotContains(t, w.Body.String(), token, name)
	}
}

func TestServer_SignsIn(t *testing.T) {
	const token = "a-token-of-the-tests"
	var log bytes.Buffer
	c := Config{Token: token, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	form := func(text string) func(*http.Request) {
		return func(r *http.Request) {
			*r = *httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("token="+text))
			r.Host = "127.0.0.1"
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	w := asked(t, c, form("something-else-here"))
	require.Equal(t, "/login?wrong", w.Header().Get("Location"))
	require.Empty(t, w.Result().Cookies())
	require.Contains(t, log.String(), "wrong token")
	require.NotContains(t, log.String(), "something-else-here")

	w = asked(t, c, form(token))
	require.Equal(t, "/", w.Header().Get("Location"))
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 1)
	require.True(t, cookies[0].HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookies[0].SameSite)
	require.NotContains(t, cookies[0].Value, token)
}

func TestNew_WantsATokenBeyondLoopback(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"} {
		_, err := New(Config{Addr: addr, RedisURL: "redis://127.0.0.1:1"})
		require.ErrorIs(t, err, ErrNoToken, addr)
	}
	for _, c := range []Config{{Addr: "127.0.0.1:0"}, {Addr: "localhost:0"}, {Addr: "127.0.0.2:0"}, {Addr: ":0", Token: "sixteen-bytes-ok"}} {
		c.RedisURL = "redis://127.0.0.1:1"
		s, err := New(c)
		require.NoError(t, err, c.Addr)
		require.Regexp(t, `^http://(127\.0\.0\.[12]|\[::1\]):\d+/$`, s.URL())
		require.NoError(t, s.Close())
	}
}

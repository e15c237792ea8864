package observe

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedact(t *testing.T) {
	tests := []struct {
		raw, want string
		secrets   []string
	}{
		{"", "", nil},
		{"postgres://app@db:5432/gps?sslmode=disable", "postgres://app@db:5432/gps?sslmode=disable", nil},
		{"postgres://app:s3cret@db:5432/gps", "postgres://app:xxxxx@db:5432/gps", []string{"s3cret"}},
		{"postgres://app:a%40b%2Fc@h1:5432,h2:5432/gps", "postgres://app:xxxxx@h1:5432,h2:5432/gps", []string{"a@b/c"}},
		{"postgres://db/gps?user=app&password=s3cret", "postgres://db/gps?password=xxxxx&user=app", []string{"s3cret"}},
		{"postgres:///gps?host=/run/postgresql", "postgres:///gps?host=/run/postgresql", nil},
		{"redis://:s3cret@cache:6379/0", "redis://:xxxxx@cache:6379/0", []string{"s3cret"}},
		{"rediss://worker:s3cret@cache", "rediss://worker:xxxxx@cache", []string{"s3cret"}},
		{"redis://s3cret@cache", "redis://xxxxx@cache", []string{"s3cret"}},
		{"redis://cache?sentinel_password=s3cret", "redis://cache?sentinel_password=xxxxx", []string{"s3cret"}},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, Redact(tt.raw), tt.raw)
		require.Equal(t, tt.secrets, Secrets(tt.raw), tt.raw)
	}
}

func TestRedact_WhatItCannotReadIsHiddenWhole(t *testing.T) {
	for _, raw := range []string{
		"s3cret",
		"app:s3cret@db:5432",
		"postgres:app:s3=cret@db",
		"u:s3cret://x@db",
		"postgres://app:s3cret%zz@db/gps",
		"postgres://app:s3/cret@db/gps",
		"postgres://app:12/s3cret@db/gps",
		"postgres://app:12#s3cret@db/gps",
		"postgres://app:12?s3cret@db/gps",
		"postgres://app:a@12/s3cret@db/gps",
		"postgres://db/gps?password=s3cret;x",
		"redis://cache:port/s3cret",
		"host=db user=app password=s3cret dbname=gps",
		`host = db  password = 'it\'s s3cret'`,
		"host=db password='s3cret",
		"host=db password=the s3cret",
		"options='a/b' password=s3cret://x",
	} {
		require.Equal(t, "xxxxx (not a readable URL)", Redact(raw), raw)
		require.Equal(t, []string{raw}, Secrets(raw))
	}
}

func TestScrubber_HidesEverySpelling(t *testing.T) {
	const secret = `p@ss "w/ü`
	const longer = secret + " and more"
	scrub := newScrubber([]string{"", secret, longer})
	for _, spelled := range []string{
		secret, longer, url.QueryEscape(secret), url.PathEscape(secret),
		url.UserPassword("app", secret).String()[len("app:"):], fmt.Sprintf("%q", secret)[1:],
	} {
		got := scrub.Replace("connect with <" + spelled + ">: refused")
		require.Contains(t, []string{"connect with <xxxxx>: refused", `connect with <xxxxx">: refused`}, got, spelled)
	}
	require.Equal(t, "connection refused", scrub.Replace("connection refused"))
	require.Equal(t, "untouched", newScrubber(nil).Replace("untouched"))
}

func TestScrub_TakesThePasswordsOfUrls(t *testing.T) {
	urls := []string{"postgres://u:a%40b%26c@db/gps", "redis://:p%2Fw%20d@cache", ""}
	require.Equal(t, "xxxxx xxxxx xxxxx", Scrub("a@b&c a%40b&c a%40b%26c", urls...))
	require.Equal(t, "xxxxx xxxxx xxxxx", Scrub("p/w d p%2Fw%20d p%2Fw+d", urls...))
	require.Equal(t, "dial xxxxx: refused", Scrub("dial redis://u:s3/cret@h: refused", "redis://u:s3/cret@h"))
	require.Equal(t, "nothing to hide", Scrub("nothing to hide", "redis://host"))
}

// Whatever a password holds, escaped or not, nothing of it is shown.
func FuzzRedact(f *testing.F) {
	for _, around := range []string{"", "/", "@", "#", "?password=", "%2F", "%zz", ":", "12/", "[::1]:5432/", "; "} {
		f.Add(around, "")
		f.Add("", around)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		password := before + "s3cret" + after
		for _, raw := range []string{
			"postgres://app:" + password + "@db:5432/gps?sslmode=disable",
			"redis://:" + password + "@cache",
			(&url.URL{Scheme: "postgres", User: url.UserPassword("app", password), Host: "db"}).String(),
		} {
			require.NotContains(t, Redact(raw), "s3cret", raw)
		}
	})
}

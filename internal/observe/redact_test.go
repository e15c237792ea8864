package observe

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedact(t *testing.T) {
	tests := []struct {
		raw, want string
	}{
		{"", ""},
		{"postgres://app@db:5432/gps?sslmode=disable", "postgres://app@db:5432/gps?sslmode=disable"},
		{"postgres://app:s3cret@db:5432/gps", "postgres://app:xxxxx@db:5432/gps"},
		{"postgres://app:a%40b%2Fc@h1:5432,h2:5432/gps", "postgres://app:xxxxx@h1:5432,h2:5432/gps"},
		{"postgres://db/gps?user=app&password=s3cret", "postgres://db/gps?user=app&password=xxxxx"},
		{"postgres:///gps?host=/run/postgresql", "postgres:///gps?host=/run/postgresql"},
		{"redis://:s3cret@cache:6379/0", "redis://:xxxxx@cache:6379/0"},
		{"rediss://worker:s3cret@cache", "rediss://worker:xxxxx@cache"},
		{"redis://s3cret@cache", "redis://xxxxx@cache"},
		{"redis://cache?sentinel_password=s3cret", "redis://cache?sentinel_password=xxxxx"},
		{"redis://cache?addr=u%3As3cret%40other&db=1", "redis://cache?addr=xxxxx&db=1"},
		{"postgres://db/gps?p%61ssword=s3cret&sslmode=disable", "postgres://db/gps?p%61ssword=xxxxx&sslmode=disable"},
		{"postgres://app:a:s3cret:b@db/gps", "postgres://app:xxxxx@db/gps"},
		{"postgres://db/gps?pasword=s3cret&sslmode=disable", "postgres://db/gps?xxxxx&sslmode=disable"},
		{"postgres://db/gps?s3cret", "postgres://db/gps?xxxxx"},
		{"postgres://db/gps?s3cret=&passfile=s3cret", "postgres://db/gps?xxxxx&passfile=xxxxx"},
		{"postgres://db/gps?options=-c%20a.b%3Ds3cret&pool_max_conns=4", "postgres://db/gps?xxxxx&pool_max_conns=4"},
		{"postgres://db/gps?application_name=app%40s3cret", "postgres://db/gps?application_name=xxxxx"},
		{"postgres://db/gps?db=s3cret", "postgres://db/gps?xxxxx"},
		{"redis://cache?password=s3cret&sslmode=s3cret&db=1", "redis://cache?password=xxxxx&xxxxx&db=1"},
		{"postgres://processor:processor@processor/processor", "postgres://processor:xxxxx@processor/processor"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, Redact(tt.raw), tt.raw)
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
		"postgres://app:a@s3cret@db/gps",
		"postgres://app:a@s3cret:5432@db/gps",
		"postgres://a@b:s3cret@db/gps",
		"postgres://app:a s3cret@db/gps",
		"postgres://app:s3cret%@db/gps",
		"postgres://app:s3cret[@db/gps",
		"postgres://app:s3cret\\@db/gps",
		"redis://:a@s3cret@cache:6379/0",
		"redis://:a s3cret@cache",
		"redis://:a%s3cret@cache",
		"postgres://db/gps?password=s3cret;x",
		"redis://cache:port/s3cret",
		"redis://cache/0#s3cret",
		"postgres://db/gps#s3cret",
		"postgres://app%3As3cret@db/gps",
		"postgres://db/gps?user=app:s3cret",
		"host=db user=app password=s3cret dbname=gps",
		`host = db  password = 'it\'s s3cret'`,
		"host=db password='s3cret",
		"host=db password=the s3cret",
		"options='a/b' password=s3cret://x",
	} {
		require.Equal(t, "xxxxx (not a readable URL)", Redact(raw), raw)
		require.False(t, Readable(raw), raw)
	}
}

func TestScrub_HidesUrlsAndAssignments(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"dial postgres://app:s3cret@db: connection refused":             "dial postgres://app:xxxxx@db: connection refused",
		"dial redis://s3cret@cache":                                     "dial redis://xxxxx@cache",
		"dial REDISS://s3cret@cache":                                    "dial REDISS://xxxxx@cache",
		"postgres://app@db/gps":                                         "postgres://app@db/gps",
		"dial postgres://app%3As3cret@db/gps#s3cret":                    "dial postgres://xxxxx@db/gps#xxxxx",
		"`redis://h?pasword=s3cret&db=1`: refused":                      "`redis://h?xxxxx&db=1`: refused",
		`parse "postgres://app:s3cret and s3cret@db": invalid userinfo`: `parse "postgres://app:xxxxx@db": invalid userinfo`,
		`parse "postgres://app:s3\"cret@db": invalid`:                   `parse "postgres://app:xxxxx@db": invalid`,
		"cannot parse `redis://:s3cret@h`: no (redis://:s3cret@h)":      "cannot parse `redis://:xxxxx@h`: no (redis://:xxxxx@h)",
		"two postgres://a:s3cret@h, postgres://b:s3cret@h":              "two postgres://a:xxxxx@h, postgres://b:xxxxx@h",
		"postgres://app:s3/cret@s3cret@h failed":                        "postgres://app:xxxxx@h failed",
		"redis://h?sentinel_password=s3cret&db=1 failed":                "redis://h?sentinel_password=xxxxx&db=1 failed",
		"host=h password=s3cret&x dbname=d":                             "host=h password=xxxxx dbname=d",
		"host=h password = 'a s3cret' dbname=d":                         "host=h password =xxxxx dbname=d",
		`password='it\'s s3cret' user=u`:                                "password=xxxxx user=u",
		"sslpassword=s3cret PGPASSWORD=s3cret":                          "sslpassword=xxxxx PGPASSWORD=xxxxx",
		"password='s3cret and no end":                                   "password=xxxxx",
		"the s3cret is an ordinary word":                                "the s3cret is an ordinary word",
		"1 != 2, a=b, see http://host/path?x=y":                         "1 != 2, a=b, see http://host/path?x=y",
	} {
		require.Equal(t, want, Scrub(text), text)
	}
}

// A password that is an ordinary word must not show by what is missing.
func TestScrub_LeavesWordsAlone(t *testing.T) {
	const text = "no processor group in database processor: run processor migrate up, password authentication failed for user w"
	require.Equal(t, text, Scrub(text))
}

// Whatever a password holds, escaped or not, nothing of it is shown.
func FuzzRedact(f *testing.F) {
	for _, around := range []string{"", "/", "@", "a@b", "'", "`", "\\", "&", "=", " ", "#", "?password=", "%2F", "%zz", ":", "12/", "[::1]:5432/", "; "} {
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
			if Readable(raw) {
				require.NotContains(t, Scrub("dial "+raw+": refused"), "s3cret", raw)
				require.NotContains(t, Scrub(fmt.Sprintf("parse %q: %s", raw, raw)), "s3cret", raw)
			}
		}
	})
}

func TestFault_ShowsNoValue(t *testing.T) {
	parse := func(refused ...string) func(string) error {
		return func(raw string) error {
			for _, part := range refused {
				if strings.Contains(raw, part) {
					return errors.New(raw)
				}
			}
			return nil
		}
	}
	for _, tt := range []struct {
		raw     string
		refused []string
		want    string
	}{
		{"postgres://h/d?sslmode=s3cret", nil, ""},
		{"postgres://h/d?sslmode=s3cret&port=1", []string{"s3cret"}, "parameter sslmode has a value that cannot be used, or does not belong there"},
		{"postgres://h/d?s3cret=1&port=1", []string{"s3cret"}, "a parameter is not known"},
		{"redis://h?password=s3cret", []string{"s3cret"}, "parameter password has a value that cannot be used, or does not belong there"},
		{"redis://h?a=s3cret&b=s3cret", []string{"a=", "b="}, "several parameters are not known or have values that cannot be used"},
		{"redis://h/s3cret?db=1", []string{"s3cret"}, "host, port or path cannot be used"},
		{"redis://h/s3cret", []string{"s3cret"}, "host, port or path cannot be used"},
	} {
		require.Equal(t, tt.want, Fault(tt.raw, parse(tt.refused...)), tt.raw)
	}
}

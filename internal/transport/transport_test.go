package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedis_FindsWhatIsNotProtected(t *testing.T) {
	for url, want := range map[string]string{
		"redis://127.0.0.1:6379/0":             "",
		"redis://127.9.9.9":                    "",
		"redis://[::1]:6379":                   "",
		"redis://localhost":                    "",
		"redis://":                             "",
		"unix:///run/redis.sock":               "",
		"rediss://u:p@cache:6379":              "",
		"rediss://cache?skip_verify=false":     "",
		"redis://u:p@cache:6379":               "passwords and positions go to cache as plain text",
		"redis://10.0.0.1:6379":                "passwords and positions go to 10.0.0.1 as plain text",
		"redis://[fd00::1]:6379":               "passwords and positions go to fd00::1 as plain text",
		"redis://localhost.example:6379":       "passwords and positions go to localhost.example as plain text",
		"redis://127.0.0.1:6379?addr=two:6379": "passwords and positions go to two as plain text",
		"redis://127.0.0.1:26379?master_name=m&addr=h2:1&addr=h3:1": "passwords and positions go to h2 as plain text",
		"rediss://cache?skip_verify=true":                           "the certificate of cache is not verified",
		"rediss://127.0.0.1?addr=two:1&skip_verify=1":               "the certificate of two is not verified",
		"rediss://127.0.0.1?skip_verify=true":                       "",
	} {
		requireProblem(t, want, Redis(url), url)
	}
}

func TestPostgres_FindsWhatIsNotProtected(t *testing.T) {
	const plain, unverified = "passwords and positions can go to db as plain text", "the certificate of db is not verified"
	for url, want := range map[string]string{
		"postgres://127.0.0.1/gps?sslmode=disable":        "",
		"postgres://localhost/gps":                        "",
		"postgres://[::1]/gps":                            "",
		"postgres:///gps?host=/run/postgresql":            "",
		"postgres://u:p@db/gps?sslmode=verify-full":       "",
		"postgres://u:p@db/gps?sslmode=verify-ca":         "",
		"postgres://u:p@db/gps":                           plain, // prefer
		"postgres://u:p@db/gps?sslmode=disable":           plain,
		"postgres://u:p@db/gps?sslmode=allow":             plain,
		"postgres://u:p@db/gps?sslmode=prefer":            plain,
		"postgres://u:p@db/gps?sslmode=require":           unverified,
		"postgres://127.0.0.1,db/gps?sslmode=disable":     plain,
		"postgres://127.0.0.1:1,db:2/gps?sslmode=require": unverified,
		"postgres://db,other/gps?sslmode=verify-full":     "",
		"postgres:///gps?host=db&sslmode=require":         unverified,
	} {
		requireProblem(t, want, Postgres(url), url)
	}
}

func requireProblem(t *testing.T, want string, got *Problem, url string) {
	t.Helper()
	if want == "" {
		require.Nil(t, got, url)
		return
	}
	require.NotNil(t, got, url)
	require.Equal(t, want, got.Text, url)
	require.NotEmpty(t, got.Fix, url)
}

package servertest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStart_TriesTheSourcesThatItMay(t *testing.T) {
	has := func(url string) starter {
		return func(context.Context) (server, error) { return server{url: url}, nil }
	}
	fails := func(text string) starter {
		return func(context.Context) (server, error) { return server{}, errors.New(text) }
	}
	for name, c := range map[string]struct {
		only             string
		container, local starter
		url              string
		err              []string
	}{
		"containers first":         {"", has("container"), has("local"), "container", nil},
		"then this machine":        {"", fails("no engine"), has("local"), "local", nil},
		"neither":                  {"", fails("no engine"), fails("no programs"), "", []string{"no engine", "no programs"}},
		"docker":                   {"docker", has("container"), has("local"), "container", nil},
		"docker, without fallback": {"docker", fails("no engine"), has("local"), "", []string{"no engine"}},
		"local":                    {"local", has("container"), has("local"), "local", nil},
		"local, without fallback":  {"local", has("container"), fails("no programs"), "", []string{"no programs"}},
		"misspelt":                 {"Docker", has("container"), has("local"), "", []string{`TEST_SERVERS="Docker" names no source`}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := start(t.Context(), c.only, c.container, c.local)
			require.Equal(t, c.url, s.url)
			if c.err == nil {
				require.NoError(t, err)
			}
			for _, text := range c.err {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// The official image of TimescaleDB has the extension in template1, and so in every new database.
func TestEmptyTemplate_NewDatabasesLackTimescaleDB(t *testing.T) {
	template := "DROP EXTENSION IF EXISTS timescaledb CASCADE"
	var conf []string
	if HasTimescaleDB(t) {
		template = "CREATE EXTENSION timescaledb"
		conf = append(conf, "timescaledb.telemetry_level = off")
	}
	postgres := NewPostgres(t, conf...)
	Execute(t, postgres.URL("template1"), template)

	require.NoError(t, emptyTemplate(t.Context(), postgres.URL("postgres")))
	Execute(t, postgres.URL("postgres"), "CREATE DATABASE fresh")
	require.Equal(t, []string{"0"}, Ask(t, postgres.URL("fresh"),
		"SELECT count(*)::text FROM pg_extension WHERE extname = 'timescaledb'"))
}

package sandbox_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestStandby_FollowsIsPromotedAndIsFollowed(t *testing.T) {
	list := setTempDir(t)
	primary := startPostgres(t, sandbox.PostgresOptions{ExtraConf: []string{"wal_keep_size = 1GB"}})
	require.NoError(t, primary.CreateDatabase(t.Context(), "fleet"))
	standby, err := primary.StartStandby(t.Context(), sandbox.StandbyOptions{Name: "second", ExtraConf: []string{"work_mem = 5MB"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop(context.WithoutCancel(t.Context()))) })
	require.Len(t, list(), 2)
	require.Equal(t, primary.HasTimescaleDB(), standby.HasTimescaleDB())
	standbys := func(server *sandbox.Postgres) string {
		return queryString(t, servertest.Connect(t, server.URL("fleet")), "SELECT coalesce(string_agg(application_name, ','), '') FROM pg_stat_replication WHERE state = 'streaming'")
	}
	written := func(from, to *sandbox.Postgres, table string) {
		servertest.Execute(t, from.URL("fleet"), "CREATE TABLE "+pgx.Identifier{table}.Sanitize()+" ()")
		servertest.Until(t, "the standby has "+table, func() bool {
			return len(servertest.Ask(t, to.URL("fleet"), "SELECT relname::text FROM pg_class WHERE relname = $1", table)) == 1
		})
	}
	servertest.Until(t, "the standby streams", func() bool { return standbys(primary) == "second" })
	require.Equal(t, "5MB", queryString(t, servertest.Connect(t, standby.URL("fleet")), "SHOW work_mem"))
	require.Equal(t, "on", queryString(t, servertest.Connect(t, standby.URL("fleet")), "SHOW transaction_read_only"))
	written(primary, standby, "first")

	require.NoError(t, primary.StopFast(t.Context()))
	require.NoError(t, standby.Promote(t.Context()))
	require.NoError(t, primary.Follow(standby, sandbox.StandbyOptions{Name: "former", Upstream: hostOf(t, standby)}))
	require.NoError(t, primary.Restart(t.Context()))
	servertest.Until(t, "the former primary streams", func() bool { return standbys(standby) == "former" })
	written(standby, primary, "second")

	require.NoError(t, standby.Stop(t.Context()))
	require.Len(t, list(), 1, "the standby's files are gone")
	_, err = standby.StartStandby(t.Context(), sandbox.StandbyOptions{})
	require.ErrorContains(t, err, "pg_basebackup for PostgreSQL: ")
	require.Len(t, list(), 1, "and those of a start that failed")
}

func hostOf(t *testing.T, server *sandbox.Postgres) string {
	t.Helper()
	u, err := url.Parse(server.URL(""))
	require.NoError(t, err)
	return u.Host
}

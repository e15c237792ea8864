package store

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// XACK follows the commit, so a commit must be on disk. What is stricter than off is the DBA's choice.
func TestStore_KeepsCommitsDurable(t *testing.T) {
	for role, session := range map[string]string{"off": "on", "on": "on", "local": "local", "remote_apply": "remote_apply"} {
		t.Run(role, func(t *testing.T) {
			url := with(t, servertest.Database(t), "options", "-c synchronous_commit="+role)
			conn, err := open(t, url, Options{}).pool.Acquire(t.Context())
			require.NoError(t, err)
			defer conn.Release()
			rows, err := conn.Query(t.Context(), `SHOW synchronous_commit`)
			require.NoError(t, err)
			got, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
			require.NoError(t, err)
			require.Equal(t, session, got)
		})
	}
}

func TestCheckURL_RefusesWhatLosesTypes(t *testing.T) {
	const url = "postgres://u:hunter2@127.0.0.1/x"
	require.NoError(t, CheckURL(url))
	require.NoError(t, CheckURL(url+"?default_query_exec_mode=cache_describe&pool_max_conns=3"))
	for _, mode := range []string{"exec", "simple_protocol"} {
		err := CheckURL(url + "?default_query_exec_mode=" + mode)
		require.ErrorContains(t, err, "cache_describe")
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.Error(t, CheckURL(url+"?pool_max_conns=many"))
}

package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

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

func TestStore_RefusesModesThatLoseTypes(t *testing.T) {
	for _, mode := range []string{"exec", "simple_protocol"} {
		_, err := Open(t.Context(), servertest.WithParameter(t, "postgres://u:secret@localhost/d", "default_query_exec_mode", mode), Options{})
		require.ErrorContains(t, err, "use cache_describe")
		require.NotContains(t, err.Error(), "secret")
	}
	url := servertest.WithParameter(t, servertest.Migrated(t), "default_query_exec_mode", "cache_describe")
	w := open(t, url, Options{}).NewWriter()
	for _, want := range []Result{{Inserted: 1}, {Unchanged: 1}} {
		got, err := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{"x": 1}`)}, Redelivered: true})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

//go:build !worker

package sandbox_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
)

func TestStartMiniredis_AnswersUntilStopped(t *testing.T) {
	url, stop, err := sandbox.StartMiniredis()
	require.NoError(t, err)
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()
	require.NoError(t, client.Ping(t.Context()).Err())

	stop()
	require.Error(t, client.Ping(t.Context()).Err())
}

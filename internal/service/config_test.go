package service

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettingError_KeepsItsCause(t *testing.T) {
	redis := Redis{URLFile: "not-there"}
	err := redis.Resolve()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "--redis-url-file (REDIS_URL_FILE): open not-there: no such file or directory; wanted: a file that holds the URL and nothing else")
}

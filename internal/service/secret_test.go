package service

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

func TestReadSecret_RemovesWhatSurroundsTheURL(t *testing.T) {
	const url = "redis://worker:a%20b@cache:6379/0"
	for name, content := range map[string]string{
		"as it is":                  url,
		"line end":                  url + "\n",
		"CRLF":                      url + "\r\n",
		"blank lines":               "\n" + url + "\n\r\n  \n",
		"byte-order mark":           "\ufeff" + url,
		"byte-order mark and CRLF":  "\ufeff" + url + "\r\n\r\n",
		"mark behind a blank line":  "\n\ufeff\n" + url,
		"white space on both sides": "\t " + url + " \t",
	} {
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		redis := Redis{URLFile: path}
		require.NoError(t, redis.Resolve(), name)
		require.Equal(t, url, redis.URL, name)
		redis = Redis{URL: content}
		require.NoError(t, redis.Resolve(), name)
		require.Equal(t, url, redis.URL, name)
	}
}

// Each names the flag, the variable and what is wanted, and nothing of the content.
func TestReadSecret_NamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := func(content string) string {
		path := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	utf16Text := ""
	for _, unit := range utf16.Encode([]rune("\ufeffredis://:s3cret@cache")) {
		utf16Text += string([]byte{byte(unit), byte(unit >> 8)})
	}
	const wanted = "; wanted: a file that holds the URL and nothing else"
	for _, tt := range []struct{ name, path, content, want string }{
		{"missing", filepath.Join(dir, "missing"), "", "open " + dir + "/missing: no such file or directory" + wanted},
		{"directory", dir, "", "read " + dir + ": is a directory" + wanted},
		{"empty", "", "", "file " + dir + "/file is empty" + wanted},
		{"blank", "", "\ufeff \r\n\n", "file " + dir + "/file is empty" + wanted},
		{"UTF-16", "", utf16Text, "file " + dir + "/file is not UTF-8 text; save it as UTF-8" + wanted},
		{"large", "/dev/zero", "", "file /dev/zero is larger than 65536 bytes" + wanted},
		{"URL", "redis://:s3cret@cache", "", "is a URL, not the name of a file that holds one; set the URL without _FILE, or name a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = file(tt.content)
			}
			redis, database := Redis{URLFile: path}, Database{URLFile: path}
			require.EqualError(t, redis.Resolve(), "--redis-url-file (REDIS_URL_FILE): "+tt.want)
			require.EqualError(t, database.Resolve(), "--database-url-file (DATABASE_URL_FILE): "+tt.want)
		})
	}
	two := Redis{URLFile: file("redis://:s3cret@cache\nredis://:s3cret@cache\n")}
	require.ErrorContains(t, two.Resolve(), "not a readable URL")
	require.NotContains(t, two.Resolve().Error(), "s3cret")
}

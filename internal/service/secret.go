package service

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxSecret bounds what is read of a file that holds a URL, in bytes.
const maxSecret = 64 << 10

// readSecret returns the URL, or what else it is, in a file, without byte-order mark, blank lines and white space around
// it. Its errors name the file, the fix, and nothing of its content.
func readSecret(path, what string) (string, error) {
	if strings.Contains(path, "://") { // not shown: it may hold a password
		return "", errors.New("is a URL, not the name of a file that holds one; set the URL without _FILE, or name a file")
	}
	wanted := "wanted: a file that holds " + what + " and nothing else"
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%w; %s", err, wanted)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	switch {
	case err != nil: // a directory
		return "", fmt.Errorf("%w; %s", err, wanted)
	case len(content) > maxSecret:
		return "", fmt.Errorf("file %s is larger than %d bytes; %s", path, maxSecret, wanted)
	case !utf8.Valid(content):
		return "", fmt.Errorf("file %s is not UTF-8 text; save it as UTF-8; %s", path, wanted)
	}
	text := trimSecret(string(content))
	if text == "" {
		return "", fmt.Errorf("file %s is empty; %s", path, wanted)
	}
	return text, nil
}

// trimSecret removes what editors and shells add around a URL.
func trimSecret(text string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "\ufeff"))
}

// secretFile is the URL in a file whose password may change while the process runs. Its methods are safe for
// concurrent use.
type secretFile struct {
	path   string
	check  func(url string) error
	logger *slog.Logger

	mu      sync.Mutex
	url     string // as it was last read
	failing bool
}

// watched returns a function that reads the file again and returns the URL in it, or where it cannot be read
// or check refuses it the one read last, which begins with url. It is nil where path is empty.
func watched(path, url string, check func(string) error, logger *slog.Logger) func() string {
	if path == "" {
		return nil
	}
	f := &secretFile{path: path, check: check, logger: logger, url: url}
	return f.read
}

func (f *secretFile) read() string {
	text, err := readSecret(f.path, "the URL")
	if err == nil {
		err = f.check(text)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if !f.failing {
			f.logger.Warn("secret file cannot be read; using the value read last", "file", f.path, "error", err)
		}
		f.failing = true
		return f.url
	}
	if f.failing {
		f.logger.Info("secret file can be read again", "file", f.path)
	}
	f.failing = false
	f.url = text
	return f.url
}

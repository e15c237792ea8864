package service

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"

	"processor/internal/observe"
)

// secretFile is the URL in a file whose password may change while the process runs. Its methods are safe for
// concurrent use.
type secretFile struct {
	path   string
	logger *slog.Logger

	mu      sync.Mutex
	url     string // as it was last read
	failing bool
}

// watched returns a function that reads the file again and returns the URL in it, or where it cannot be read
// the one read last, which begins with url. It is nil where path is empty.
func watched(path, url string, logger *slog.Logger) func() string {
	if path == "" {
		return nil
	}
	f := &secretFile{path: path, logger: logger, url: url}
	return f.read
}

func (f *secretFile) read() string {
	content, err := os.ReadFile(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.TrimSpace(string(content))
	if err == nil && (text == "" || !observe.Readable(text)) {
		err = errors.New("it is empty or holds no readable URL")
	}
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

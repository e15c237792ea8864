package stream

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// BlockTimeout is how long a read waits in Redis for an entry. Finite, since a blocked read
// cannot be called back: it bounds how long an idle worker takes to stop.
const BlockTimeout = time.Second

// socketBuffer holds the entries of one read in few system calls.
const socketBuffer = 256 << 10

// Connect makes a client from a URL; it dials with the first command. Forms:
//
//	redis://user:password@host:6379/0              one server; rediss:// with TLS
//	unix:///run/redis.sock?db=0                    one server on this machine
//	redis://user:password@host:26379/0?master_name=m&addr=host2:26379   Sentinel
//	redis://user:password@host:6379?addr=host2:6379                     Cluster
//
// All other parameters are go-redis's. The client tries nothing twice: its callers do, and know
// for how long. The caller closes the client.
func Connect(rawURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of net/url holds the URL, and so the password.
		return nil, fmt.Errorf("not a URL of the form redis://user:password@host:6379/0")
	}
	query := u.Query()
	switch {
	case query.Has("master_name"):
		opt, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("sentinel: %w", err)
		}
		opt.Protocol, opt.MaxRetries, opt.DialerRetries = 2, -1, 1
		opt.ReadTimeout = readTimeout(opt.ReadTimeout)
		opt.ReadBufferSize, opt.WriteBufferSize = socketBuffer, socketBuffer
		requireTLS12(opt.TLSConfig)
		return redis.NewFailoverClient(opt), nil
	case query.Has("addr"):
		opt, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		opt.Protocol, opt.MaxRetries, opt.DialerRetries = 2, -1, 1
		opt.ReadTimeout = readTimeout(opt.ReadTimeout)
		opt.ReadBufferSize, opt.WriteBufferSize = socketBuffer, socketBuffer
		opt.MaintNotificationsConfig = noMaintNotifications()
		requireTLS12(opt.TLSConfig)
		return redis.NewClusterClient(opt), nil
	default:
		opt, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, err
		}
		opt.Protocol, opt.MaxRetries, opt.DialerRetries = 2, -1, 1
		opt.ReadTimeout = readTimeout(opt.ReadTimeout)
		opt.ReadBufferSize, opt.WriteBufferSize = socketBuffer, socketBuffer
		opt.MaintNotificationsConfig = noMaintNotifications()
		requireTLS12(opt.TLSConfig)
		return redis.NewClient(opt), nil
	}
}

// readTimeout leaves a blocked read its time: the client's own limit must come later.
func readTimeout(wanted time.Duration) time.Duration {
	return max(wanted, BlockTimeout+2*time.Second)
}

// noMaintNotifications: they need RESP3, and the raw reader reads RESP2.
func noMaintNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func requireTLS12(config *tls.Config) {
	if config != nil {
		config.MinVersion = tls.VersionTLS12
	}
}

// Ping reports whether Redis answers.
func Ping(ctx context.Context, client redis.UniversalClient) error {
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping Redis: %w", err)
	}
	return nil
}

// LogTo sends what the Redis client library says of its own accord, such as a failed dial, to
// the logger. Otherwise it writes to standard error. It is a setting of the whole process.
func LogTo(logger *slog.Logger) { redis.SetLogger(clientLog{logger}) }

type clientLog struct{ logger *slog.Logger }

// Printf is called by go-redis. The service reports the same trouble itself, with what it means.
func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}

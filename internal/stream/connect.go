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

// socketBuffer is the size of the buffers of go-redis's connections, which take a large XACK in few system calls.
const socketBuffer = 256 << 10

// Connect makes a client from a URL; it dials with the first command. Forms:
//
//	redis://user:password@host:6379/0              one server; rediss:// with TLS
//	unix:///run/redis.sock?db=0                    one server on this machine
//	redis://user:password@host:26379/0?master_name=m&addr=host2:26379   Sentinel, see sentinelOptions
//	redis://user:password@host:6379?addr=host2:6379                     Cluster
//
// All other parameters are go-redis's. The client retries nothing: its callers do, and know
// for how long. The caller closes the client.
func Connect(rawURL string) (redis.UniversalClient, error) { return ConnectWith(rawURL, nil) }

// ConnectWith is Connect with credentials that may change: current, where not nil, returns the URL as it is
// now, and each new connection uses its user name and password. Everything else is that of rawURL.
func ConnectWith(rawURL string, current func() string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of net/url holds the URL, and so the password.
		return nil, fmt.Errorf("not a URL of the form redis://user:password@host:6379/0")
	}
	query := u.Query()
	switch {
	case query.Has("master_name"):
		opt, err := sentinelOptions(u)
		if err != nil {
			return nil, fmt.Errorf("sentinel: %w", err)
		}
		// go-redis has no maintenance notifications with Sentinel.
		set(settings{&opt.Protocol, &opt.MaxRetries, &opt.DialerRetries, &opt.ReadBufferSize, &opt.WriteBufferSize,
			&opt.ReadTimeout, opt.DialTimeout, opt.TLSConfig, &opt.Dialer, &opt.CredentialsProviderContext, new(noNotifications)}, current)
		return redis.NewFailoverClient(opt), nil
	case query.Has("addr"):
		opt, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		set(settings{&opt.Protocol, &opt.MaxRetries, &opt.DialerRetries, &opt.ReadBufferSize, &opt.WriteBufferSize,
			&opt.ReadTimeout, opt.DialTimeout, opt.TLSConfig, &opt.Dialer, &opt.CredentialsProviderContext, &opt.MaintNotificationsConfig}, current)
		return redis.NewClusterClient(opt), nil
	default:
		opt, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, err
		}
		set(settings{&opt.Protocol, &opt.MaxRetries, &opt.DialerRetries, &opt.ReadBufferSize, &opt.WriteBufferSize,
			&opt.ReadTimeout, opt.DialTimeout, opt.TLSConfig, &opt.Dialer, &opt.CredentialsProviderContext, &opt.MaintNotificationsConfig}, current)
		return redis.NewClient(opt), nil
	}
}

// sentinelOptions reads the URL of Sentinels. User and password in it are Redis's, as in every URL; those of the Sentinels,
// where they have any, are the parameters sentinel_username and sentinel_password. With go-redis's parameters username
// and password, which are Redis's, user and password of the URL are the Sentinels'.
func sentinelOptions(u *url.URL) (*redis.FailoverOptions, error) {
	rest, query := *u, u.Query()
	user, password := query.Get(sentinelUsername), query.Get(sentinelPassword)
	apart := query.Has(sentinelUsername) || query.Has(sentinelPassword)
	query.Del(sentinelUsername)
	query.Del(sentinelPassword)
	rest.RawQuery = query.Encode()
	opt, err := redis.ParseFailoverURL(rest.String())
	if err != nil {
		return nil, err
	}
	opt.Username, opt.Password = credentialsOf(u)
	if apart || !namesRedisUser(query) {
		opt.SentinelUsername, opt.SentinelPassword = user, password
	}
	return opt, nil
}

const (
	sentinelUsername = "sentinel_username"
	sentinelPassword = "sentinel_password"
)

// namesRedisUser reports whether the URL of Sentinels has Redis's user or password as a parameter.
func namesRedisUser(query url.Values) bool {
	return query.Has("master_name") && (query.Has("username") || query.Has("password"))
}

// credentialsOf returns the user name and password that Redis gets.
func credentialsOf(u *url.URL) (user, password string) {
	if query := u.Query(); namesRedisUser(query) {
		return query.Get("username"), query.Get("password")
	}
	password, _ = u.User.Password()
	return u.User.Username(), password
}

type (
	noNotifications = *maintnotifications.Config
	credentials     = func(ctx context.Context) (user, password string, err error)
)

// settings are the options that go-redis has in each of its three option types.
type settings struct {
	protocol, maxRetries, dialerRetries, readBuffer, writeBuffer *int

	readTimeout   *time.Duration
	dialTimeout   time.Duration
	tls           *tls.Config
	dialer        *dialFunc
	credentials   *credentials
	notifications **maintnotifications.Config
}

// set sets what every kind of client needs.
func set(s settings, current func() string) {
	*s.protocol, *s.maxRetries, *s.dialerRetries = 2, -1, 1
	*s.readBuffer, *s.writeBuffer = socketBuffer, socketBuffer
	// The client's own limit must come later than the end of a blocked read.
	*s.readTimeout = max(*s.readTimeout, BlockTimeout+2*time.Second)
	// Maintenance notifications need RESP3, and the wire reader reads RESP2.
	*s.notifications = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if s.tls != nil {
		s.tls.MinVersion = tls.VersionTLS12
	}
	*s.dialer = newDialer(s.dialTimeout, s.tls)
	if current != nil {
		*s.credentials = func(context.Context) (string, string, error) { return userinfo(current()) }
	}
}

// userinfo returns the user name and password that Redis gets by a URL.
func userinfo(rawURL string) (user, password string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", "", fmt.Errorf("the Redis URL is not readable any more") // err holds the URL
	}
	user, password = credentialsOf(u)
	return user, password, nil
}

// Ping returns nil if Redis answers: of a cluster each node that has one of the streams. The others may be down.
func Ping(ctx context.Context, client redis.UniversalClient, streams ...string) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok || len(streams) == 0 {
		return explain("ping Redis", client.Ping(ctx).Err())
	}
	pinged := map[string]bool{}
	for _, stream := range streams {
		node, err := cluster.MasterForKey(ctx, stream)
		if err != nil {
			return explain("find the node of stream "+stream, err)
		}
		addr := node.Options().Addr
		if pinged[addr] {
			continue
		}
		pinged[addr] = true
		if err := node.Ping(ctx).Err(); err != nil {
			cluster.ReloadState(ctx) // a replica may have taken over
			return explain("ping node "+addr+" of the Redis Cluster", err)
		}
	}
	return nil
}

// explain adds what failed to an error, and what a person can do about it.
func explain(what string, err error) error {
	hint := Hint(err)
	switch {
	case err == nil:
		return nil
	case hint != "":
		return fmt.Errorf("%s: %w. Fix: %s", what, err, hint)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// LogTo sends what the Redis client library says of its own accord, such as a failed dial, to
// the logger. Otherwise it writes to standard error. It is a setting of the whole process.
func LogTo(logger *slog.Logger) { redis.SetLogger(clientLog{logger}) }

type clientLog struct{ logger *slog.Logger }

// Printf is called by go-redis. The service reports the same trouble itself, with what it means.
func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	l.logger.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}

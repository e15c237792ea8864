package service

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/observe"
	"processor/internal/schema"
	"processor/internal/stream"
)

var errNotReadable = errors.New("not a readable URL; in a user name or password / ? # @ % are written %2F %3F %23 %40 %25, and the : between them stays")

// checkRedis returns what is wrong with a Redis URL, without any value of it.
func checkRedis(rawURL string) error {
	if !observe.Readable(rawURL) {
		return errNotReadable
	}
	fault := observe.Fault(rawURL, func(rawURL string) error {
		if err := checkNodes(rawURL); err != nil {
			return err
		}
		client, err := stream.Connect(rawURL)
		if err != nil {
			return err
		}
		return client.Close() // it has not dialled yet
	})
	return faultOf("redis, rediss or unix", fault, rawURL, "redis", "rediss", "unix")
}

// checkDatabase returns what is wrong with a database URL, without any value of it.
func checkDatabase(rawURL string) error {
	if !observe.Readable(rawURL) {
		return errNotReadable
	}
	fault := observe.Fault(rawURL, func(rawURL string) error {
		config, err := schema.Config(rawURL)
		if err != nil {
			return err
		}
		if strings.Contains(config.ConnConfig.Database, "/") {
			return errors.New("the path is more than a database")
		}
		for _, f := range append([]*pgconn.FallbackConfig{{Host: config.ConnConfig.Host}}, config.ConnConfig.Fallbacks...) {
			if strings.Contains(f.Host, ":") && net.ParseIP(f.Host) == nil && !filepath.IsAbs(f.Host) {
				return errors.New("a host holds a colon")
			}
		}
		return nil
	})
	return faultOf("postgres or postgresql", fault, rawURL, "postgres", "postgresql")
}

// checkNodes refuses further addresses whose port is no number: go-redis shows it when it dials.
func checkNodes(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	if strings.Contains(u.Hostname(), ":") && net.ParseIP(u.Hostname()) == nil {
		return errors.New("a host holds a colon")
	}
	for _, address := range u.Query()["addr"] {
		if _, port, found := strings.Cut(address, ":"); found && net.ParseIP(address) == nil {
			if _, err := strconv.ParseUint(port[strings.LastIndexByte(port, ':')+1:], 10, 16); err != nil {
				return err
			}
		}
	}
	return nil
}

func faultOf(allowed, fault, rawURL string, schemes ...string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errNotReadable // err holds the URL
	}
	for _, scheme := range schemes {
		if u.Scheme != scheme {
			continue
		}
		if fault != "" {
			return errors.New(fault)
		}
		return nil
	}
	return fmt.Errorf("scheme %q is not %s", u.Scheme, allowed)
}

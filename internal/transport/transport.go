// Package transport finds out from a URL whether what is sent to Redis and PostgreSQL, passwords and positions, can
// be read or answered by somebody else in the network.
package transport

import (
	"crypto/tls"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Problem is a connection that is not protected.
type Problem struct {
	Text string // what is wrong
	Fix  string // what a person can do about it
}

// Redis returns what is wrong with the connections that a Redis URL leads to; nil where they are verified TLS,
// or stay on this machine.
func Redis(rawURL string) *Problem {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme == "unix" {
		return nil
	}
	remote := remoteOf(append([]string{u.Host}, u.Query()["addr"]...))
	skip, _ := strconv.ParseBool(u.Query().Get("skip_verify"))
	switch {
	case remote == "":
		return nil
	case u.Scheme != "rediss":
		return &Problem{"passwords and positions go to " + remote + " as plain text", "use rediss:// in REDIS_URL, with TLS enabled in Redis"}
	case skip:
		return &Problem{"the certificate of " + remote + " is not verified", "remove skip_verify from REDIS_URL; SSL_CERT_FILE names the authority"}
	}
	return nil
}

// Postgres returns what is wrong with the connections that a database URL leads to; nil where they are
// verified TLS, or stay on this machine.
func Postgres(rawURL string) *Problem {
	config, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return nil
	}
	const fix = "add sslmode=verify-full to DATABASE_URL; sslrootcert names the authority"
	plain, unverified := "", ""
	check := func(host string, config *tls.Config) {
		switch {
		case local(host):
		case config == nil:
			plain = host
		case config.InsecureSkipVerify && config.VerifyPeerCertificate == nil && config.VerifyConnection == nil:
			unverified = host
		}
	}
	check(config.Host, config.TLSConfig)
	for _, other := range config.Fallbacks { // other hosts, and the other ways that sslmode allows
		check(other.Host, other.TLSConfig)
	}
	switch {
	case plain != "":
		return &Problem{"passwords and positions can go to " + plain + " as plain text", fix}
	case unverified != "":
		return &Problem{"the certificate of " + unverified + " is not verified", fix}
	}
	return nil
}

// remoteOf returns the first host:port that is not on this machine; empty where all are.
func remoteOf(addresses []string) string {
	for _, address := range addresses {
		host := (&url.URL{Host: address}).Hostname()
		if !local(host) {
			return host
		}
	}
	return ""
}

// local reports whether a host is this machine: a loopback address, localhost, or a socket's directory.
func local(host string) bool {
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || host[0] == '/' || host[0] == '@' {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

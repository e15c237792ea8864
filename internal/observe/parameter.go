package observe

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// harmless reports whether the value of a parameter may be shown in a URL of the scheme: one whose values the driver
// checks, or that names something. What is not listed may be a password in the wrong place, and so may its name.
func harmless(scheme, key string) bool {
	if strings.HasPrefix(strings.ToLower(scheme), "postgres") {
		switch key {
		case "host", "port", "user", "dbname", "database", "application_name", "search_path",
			"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcertmode", "sslnegotiation", "connect_timeout", "target_session_attrs",
			"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity",
			"pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter",
			"pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout":
			return true
		}
		return false
	}
	switch key {
	case "addr", "master_name", "client_name", "db", "protocol", "max_retries", "min_retry_backoff", "max_retry_backoff",
		"dial_timeout", "read_timeout", "write_timeout", "pool_fifo", "pool_size", "pool_timeout", "min_idle_conns", "max_idle_conns",
		"max_active_conns", "max_concurrent_dials", "pipeline_pool_size", "pipeline_read_buffer_size", "pipeline_write_buffer_size",
		"conn_max_idle_time", "idle_timeout", "conn_max_lifetime", "conn_max_lifetime_jitter", "max_conn_age", "skip_verify",
		"max_redirects", "read_only", "route_by_latency", "route_randomly", "replica_only", "use_disconnected_replicas":
		return true
	}
	return false
}

// passwordKey reports whether a parameter is a password by its name, which may be shown.
func passwordKey(key string) bool {
	if decoded, err := url.QueryUnescape(key); err == nil {
		key = decoded
	}
	switch strings.ToLower(key) {
	case "password", "passwd", "pass", "passfile", "sslpassword", "sentinel_password":
		return true
	}
	return false
}

// plain reports whether a value holds nothing that could separate a password from something else.
func plain(value string) bool {
	decoded, err := url.QueryUnescape(value)
	return err == nil && !strings.ContainsFunc(decoded, func(r rune) bool {
		return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) && !strings.ContainsRune("_.,:/-[]", r)
	})
}

// Fault returns what keeps parse from reading a Readable URL, without any value of it: a parser's own errors show
// values, of which one may be a password in the wrong place. It is empty where parse reads the URL.
func Fault(rawURL string, parse func(string) error) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "not a URL"
	}
	if parse(rawURL) == nil {
		return ""
	}
	query := u.Query()
	for _, key := range slices.Sorted(maps.Keys(query)) {
		without := *u
		rest := u.Query()
		rest.Del(key)
		without.RawQuery = rest.Encode()
		if parse(without.String()) != nil {
			continue
		}
		if harmless(u.Scheme, key) || passwordKey(key) {
			return "parameter " + key + " has a value that cannot be used, or does not belong there"
		}
		return "a parameter is not known"
	}
	if len(query) > 0 {
		u.RawQuery = ""
		if parse(u.String()) == nil {
			return "several parameters are not known or have values that cannot be used"
		}
	}
	return "host, port or path cannot be used"
}

package stream

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every code has a fix, in replies read here and in those of go-redis, however they are wrapped; other errors have none.
func TestHint_NamesTheFix(t *testing.T) {
	for reply, want := range map[string]string{
		"CLUSTERDOWN Hash slot not served":                       "redis-cli --cluster check",
		"CLUSTERDOWN The cluster is down":                        "redis-cli --cluster check",
		"MOVED 1234 127.0.0.1:7001":                              "?addr=HOST:PORT",
		"ASK 1234 127.0.0.1:7001":                                "redis-cli --cluster fix",
		"TRYAGAIN Multiple keys request during rehashing":        "redis-cli --cluster fix",
		"READONLY You can't write against a read only replica.":  "?master_name=",
		"MASTERDOWN Link with MASTER is down":                    "promote it",
		"NOREPLICAS Not enough good replicas to write.":          "min-replicas-to-write",
		"LOADING Redis is loading the dataset in memory":         "none: ",
		"MISCONF Errors writing to the AOF file":                 "disk's space",
		"OOM command not allowed when used memory > 'maxmemory'": "raise maxmemory",
		"WRONGPASS invalid username-password pair":               "correct user and password",
		"NOAUTH Authentication required.":                        "set user and password",
		"NOPERM this user has no permissions":                    "docs/redis-users.md",
		"WRONGTYPE Operation against a key":                      "REDIS_STREAM",
		"ERR unknown command":                                    "",
		"ASKING":                                                 "",
		"NOGROUP No such key":                                    "",
	} {
		err := fmt.Errorf("read stream: %w", errors.Join(replyError(reply), errors.New("close")))
		if want == "" {
			require.Empty(t, Hint(err), reply)
			continue
		}
		require.Contains(t, Hint(err), want, reply)
	}
	require.Empty(t, Hint(errors.New("CLUSTERDOWN said by somebody else")))
	require.Empty(t, Hint(nil))
}

func TestRedirect_NamesTheOtherNode(t *testing.T) {
	for reply, want := range map[string]redirect{
		"MOVED 1234 10.0.0.7:7001":   {addr: "10.0.0.7:7001"},
		"MOVED 1234 node-2:7001":     {addr: "node-2:7001"},
		"MOVED 1234 [fd00::7]:7001":  {addr: "[fd00::7]:7001"},
		"ASK 1234 10.0.0.7:7001":     {addr: "10.0.0.7:7001", asking: true},
		"MOVED 1234 :7001":           {}, // the node that was asked, with another port
		"MOVED 1234":                 {},
		"CLUSTERDOWN The cluster is": {},
		"ERR MOVED":                  {},
	} {
		require.Equal(t, want, redirectOf(fmt.Errorf("read stream: %w", replyError(reply))), reply)
	}
	require.Equal(t, redirect{}, redirectOf(nil))
}

// User and password in the URL are Redis's, whatever the kind of URL; the Sentinels' are apart.
func TestConnect_KeepsTheUsersOfSentinelsApart(t *testing.T) {
	for rawURL, want := range map[string][4]string{ // Redis's, the Sentinels'
		"redis://h:26379?master_name=m":                                                             {"", "", "", ""},
		"redis://u:p@h:26379?master_name=m":                                                         {"u", "p", "", ""},
		"redis://:p%40@h:26379?master_name=m":                                                       {"", "p@", "", ""},
		"redis://u:p@h:26379?master_name=m&sentinel_password=sp":                                    {"u", "p", "", "sp"},
		"redis://u:p@h:26379?master_name=m&sentinel_username=su&sentinel_password=s%2Bp":            {"u", "p", "su", "s+p"},
		"redis://su:sp@h:26379?master_name=m&username=u&password=p":                                 {"u", "p", "su", "sp"},
		"redis://su:sp@h:26379?master_name=m&password=p":                                            {"", "p", "su", "sp"},
		"redis://x:y@h:26379?master_name=m&password=p&sentinel_username=su&sentinel_password=sp":    {"", "p", "su", "sp"},
		"redis://u:p@h:26379/2?master_name=m&addr=h2:26379&addr=h3:26379&sentinel_username=su&db=2": {"u", "p", "su", ""},
	} {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		opt, err := sentinelOptions(u)
		require.NoError(t, err, rawURL)
		require.Equal(t, want, [4]string{opt.Username, opt.Password, opt.SentinelUsername, opt.SentinelPassword}, rawURL)
		user, password, err := userinfo(rawURL)
		require.NoError(t, err)
		require.Equal(t, [2]string{want[0], want[1]}, [2]string{user, password}, "from a file that is read again")
	}
}

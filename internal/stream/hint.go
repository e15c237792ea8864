package stream

import "github.com/redis/go-redis/v9"

// hints say what a person can do about an error that Redis replies with, by the code that it begins with.
var hints = []struct{ code, fix string }{
	{"CLUSTERDOWN", "a primary of the Redis Cluster is down and no replica takes over, or a slot has no node: redis-cli --cluster check HOST:PORT " +
		"names it; restart that node, or run redis-cli --cluster fix HOST:PORT"},
	{"MOVED", "another node of the Redis Cluster has the stream: where REDIS_URL lacks ?addr=HOST:PORT, which makes the worker follow, add it with any other node"},
	{"ASK", "the stream's slot is being moved to another node of the Redis Cluster: where REDIS_URL lacks ?addr=HOST:PORT, which makes the worker follow, " +
		"add it with any other node; where nobody moves it any more, redis-cli --cluster fix HOST:PORT"},
	{"TRYAGAIN", "the stream's slot is being moved to another node of the Redis Cluster: none while redis-cli --cluster reshard runs; " +
		"where it was interrupted, redis-cli --cluster fix HOST:PORT"},
	{"READONLY", "the server is a replica: name the primary in REDIS_URL, or let Sentinel find it with ?master_name="},
	{"MASTERDOWN", "the server is a replica without its primary: promote it, or name the primary in REDIS_URL"},
	{"NOREPLICAS", "the primary has fewer replicas than min-replicas-to-write: bring them back, or lower it"},
	{"LOADING", "none: Redis is reading its data from disk"},
	{"MISCONF", "Redis cannot write its data to disk: look at its log and at the disk's space"},
	{"OOM", "Redis has no memory left: raise maxmemory, or lower the limit at which streams are trimmed"},
	{"WRONGPASS", "correct user and password in REDIS_URL"},
	{"NOAUTH", "set user and password in REDIS_URL"},
	{"NOPERM", "give the user of REDIS_URL the privileges that docs/redis-users.md lists"},
	{"WRONGTYPE", "the key of the stream, or of its dead letters, holds something else: correct REDIS_STREAM, or rename that key"},
}

// Hint returns what a person can do about an error of Redis. It is empty for what passes without help, and for what a
// server did not reply.
func Hint(err error) string {
	for _, h := range hints {
		if redis.HasErrorPrefix(err, h.code+" ") {
			return h.fix
		}
	}
	return ""
}

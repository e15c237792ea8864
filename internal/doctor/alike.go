package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"processor/internal/alike"
)

const (
	// scanCount keys are looked at in a step, in scanSteps at most: a big Redis is not searched to its end.
	scanCount = 1000
	scanSteps = 100
	// maxAlike bounds the names that are listed.
	maxAlike = 5
)

// namesLike lists the streams with entries whose names look like name, as the end of a sentence; nothing
// where there are none, or where the user may not SCAN.
func namesLike(ctx context.Context, client redis.UniversalClient, name string) string {
	var mu sync.Mutex
	var found []string
	search := func(ctx context.Context, node *redis.Client) error {
		names, err := similarStreams(ctx, node, name)
		mu.Lock()
		defer mu.Unlock()
		found = append(found, names...)
		return err
	}
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, search)
	case *redis.Client:
		err = search(ctx, client)
	}
	if err != nil || len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	found = found[:min(len(found), maxAlike)]
	for i := range found {
		found[i] = fmt.Sprintf("%q", found[i])
	}
	return "; streams with entries and a similar name: " + strings.Join(found, ", ")
}

func similarStreams(ctx context.Context, node *redis.Client, name string) (found []string, err error) {
	var cursor uint64
	for range scanSteps {
		var keys []string
		if keys, cursor, err = node.ScanType(ctx, cursor, "*", scanCount, "stream").Result(); err != nil {
			return nil, err
		}
		for _, key := range keys {
			if key == name || !similar(key, name) {
				continue
			}
			if n, err := node.XLen(ctx, key).Result(); err == nil && n > 0 {
				found = append(found, key)
			}
		}
		if cursor == 0 {
			break
		}
	}
	return found, nil
}

// similar reports whether one name may be a slip of the other. A dead-letter stream is no slip of its stream.
func similar(a, b string) bool {
	return strings.HasSuffix(a, ":dead") == strings.HasSuffix(b, ":dead") && alike.Names(a, b)
}

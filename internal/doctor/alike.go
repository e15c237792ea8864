package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/redis/go-redis/v9"
)

const (
	// scanCount keys are looked at in a step, in scanSteps at most: a big Redis is not searched to its end.
	scanCount = 1000
	scanSteps = 100
	// maxAlike bounds the names that are listed.
	maxAlike = 5
)

// alike lists the streams with entries whose names look like name, as the end of a sentence; nothing
// where there are none, or where the user may not SCAN.
func alike(ctx context.Context, client redis.UniversalClient, name string) string {
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

// similar reports whether one name may be a slip of the other: they differ in case, white space or
// punctuation, in one or two characters, or one is the beginning or the end of the other.
func similar(a, b string) bool {
	a, b = plain(a), plain(b)
	if a == "" || b == "" || strings.HasSuffix(a, "dead") != strings.HasSuffix(b, "dead") {
		return a == b
	}
	shorter := min(len(a), len(b))
	if shorter >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a) || strings.HasSuffix(a, b) || strings.HasSuffix(b, a)) {
		return true
	}
	return distance(a, b) <= min(2, shorter/3)
}

// plain keeps letters and digits, in lower case.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// distance counts the bytes to insert, delete or replace that make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

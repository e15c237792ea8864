package deploytest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// The page's JavaScript spreads devices evenly over the streams that its other examples name, each device on one, and
// Redis puts these, with all keys beside them, into the slots of the page's table.
func TestScaling_ShardsByDevice(t *testing.T) {
	page := read(t, "docs/scaling.md")
	shown := blocks(page, "js")
	require.Len(t, shown, 1)
	const devices = 10_000
	dir := t.TempDir()
	harness := `
import { shards, streamOf } from './rule.mjs';
const counts = {};
let stable = true;
for (let i = 0; i < ` + strconv.Itoa(devices) + `; i++) {
  const id = String(356307042000000 + 7 * i);
  counts[streamOf(id)] = (counts[streamOf(id)] ?? 0) + 1;
  stable &&= streamOf(id) === streamOf(id);
}
console.log(JSON.stringify({ shards, counts, stable }));
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rule.mjs"), []byte(shown[0]), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.mjs"), []byte(harness), 0o600))
	out, err := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "main.mjs")).Output()
	require.NoError(t, err)
	var found struct {
		Shards int
		Counts map[string]int
		Stable bool
	}
	require.NoError(t, json.Unmarshal(out, &found))
	require.True(t, found.Stable)
	require.Len(t, found.Counts, found.Shards)
	for name, n := range found.Counts {
		require.InDelta(t, devices/found.Shards, n, devices/float64(found.Shards)/10, name)
	}

	table := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d+) \\| (\\d+) \\|$").FindAllStringSubmatch(page, -1)
	require.Len(t, table, found.Shards)
	options, err := redis.ParseURL(servertest.NewRedis(t, sandbox.RedisOptions{Cluster: true}).URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	var names []string
	for _, row := range table {
		name := row[1]
		names = append(names, name)
		require.NotZero(t, found.Counts[name], name)
		require.NoError(t, stream.CheckName(name))
		slot := -1
		for _, key := range stream.Keys(name) {
			s, err := client.ClusterKeySlot(t.Context(), key).Result()
			require.NoError(t, err)
			if slot >= 0 {
				require.EqualValues(t, slot, s, key)
			}
			slot = int(s)
		}
		require.Equal(t, row[2], strconv.Itoa(slot), name)
		require.Equal(t, row[3], strconv.Itoa(slot*3/16384+1), name)
	}
	require.Contains(t, page, fmt.Sprintf("REDIS_STREAM='%s'", strings.Join(names, ",")))
}

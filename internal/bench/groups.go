package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// groupName is the consumer group of the workers.
const groupName = "processor-bench"

// pollInterval is the time between two polls of the groups. It bounds the error of a drain's duration. At
// 10 ms, polling takes less than a hundredth of a core.
const pollInterval = 10 * time.Millisecond

// reportInterval is the time between two lines of progress.
const reportInterval = 10 * time.Second

// groups are the consumer groups of some streams. Polling them costs the worker nothing, unlike its
// metrics, and is never early: XACK follows the commit.
type groups struct {
	client  redis.UniversalClient
	streams []string
}

// createStreams creates empty streams to which an entry was added: workers warn of one that never had any.
func (g groups) createStreams(ctx context.Context) error {
	for _, name := range g.streams {
		id, err := g.client.XAdd(ctx, &redis.XAddArgs{Stream: name, Values: []string{"first", ""}}).Result()
		if err == nil {
			err = g.client.XDel(ctx, name, id).Err()
		}
		if err != nil {
			return fmt.Errorf("create stream %s: %w", name, err)
		}
	}
	return g.createAtEnd(ctx)
}

// createAtEnd creates the groups at the end of their streams, so that a worker has nothing to read.
func (g groups) createAtEnd(ctx context.Context) error {
	for _, name := range g.streams {
		err := g.client.XGroupCreate(ctx, name, groupName, "$").Err()
		if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return fmt.Errorf("create consumer group on stream %s: %w", name, err)
		}
	}
	return nil
}

// rewind sets the groups back to the beginning of their streams (XGROUP SETID). A read that is already
// blocked does not notice.
func (g groups) rewind(ctx context.Context) error {
	_, err := g.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, name := range g.streams {
			pipe.XGroupSetID(ctx, name, groupName, "0")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rewind consumer groups: %w", err)
	}
	return nil
}

// lastIDs returns the last generated id of each stream.
func (g groups) lastIDs(ctx context.Context) ([]string, error) {
	infos := make([]*redis.XInfoStreamCmd, len(g.streams))
	_, err := g.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, name := range g.streams {
			infos[i] = pipe.XInfoStream(ctx, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read last ids of streams: %w", err)
	}
	ids := make([]string, len(infos))
	for i, info := range infos {
		ids[i] = info.Val().LastGeneratedID
	}
	return ids, nil
}

// acknowledged reports whether all entries up to the given last ids have been acknowledged, whatever came after them. It
// returns the number of pending entries, too.
func (g groups) acknowledged(ctx context.Context, lastIDs []string) (pending int64, all bool, err error) {
	infos, summaries := make([]*redis.XInfoGroupsCmd, len(g.streams)), make([]*redis.XPendingCmd, len(g.streams))
	_, err = g.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, name := range g.streams {
			infos[i], summaries[i] = pipe.XInfoGroups(ctx, name), pipe.XPending(ctx, name, groupName)
		}
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("read pending entries: %w", err)
	}
	all = true
	for i := range g.streams {
		pending += summaries[i].Val().Count
		past, err := acknowledgedUpTo(lastIDs[i], infos[i].Val(), summaries[i].Val())
		if err != nil {
			return 0, false, err
		}
		all = all && past
	}
	return pending, all, nil
}

// acknowledgedUpTo reports whether the group has read the entry with this id, and whether neither it nor an older one is
// pending. The groups were read before the summary of pending entries.
func acknowledgedUpTo(id string, infos []redis.XInfoGroup, summary *redis.XPending) (bool, error) {
	last, err := stream.ParseID(id)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(infos, func(group redis.XInfoGroup) bool { return group.Name == groupName })
	if at < 0 {
		return false, nil
	}
	delivered, err := stream.ParseID(infos[at].LastDeliveredID)
	if err != nil || delivered.Compare(last) < 0 {
		return false, err
	}
	if summary.Count == 0 {
		return true, nil
	}
	oldest, err := stream.ParseID(summary.Lower)
	return err == nil && oldest.Compare(last) > 0, err
}

// wait returns when all entries are acknowledged that the streams hold now. It returns an error if a worker ends
// before. Where report is not nil it gets the number of pending entries every reportInterval.
func (g groups) wait(ctx context.Context, ws workers, report func(pending int64)) error {
	lastIDs, err := g.lastIDs(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	reported := time.Now()
	for {
		pending, done, err := g.acknowledged(ctx, lastIDs)
		if err != nil || done {
			return err
		}
		if err := ws.failure(); err != nil {
			return err
		}
		if report != nil && time.Since(reported) >= reportInterval {
			report(pending)
			reported = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// remove deletes streams and their dead-letter queues.
func remove(ctx context.Context, client redis.UniversalClient, streams []string) error {
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, name := range streams {
			pipe.Unlink(ctx, stream.Keys(name)...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove benchmark streams: %w", err)
	}
	return nil
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"processor/internal/deadletter"
)

// groupBy is what dead letters are counted by.
type groupBy string

const (
	byReason groupBy = "reason"
	byDevice groupBy = "device"
	byHour   groupBy = "hour"
)

func groupNames() []string { return []string{string(byReason), string(byDevice), string(byHour)} }

func parseGroupBy(text string) (groupBy, error) {
	if !slices.Contains(groupNames(), text) {
		return "", errNotAllowed
	}
	return groupBy(text), nil
}

func (by groupBy) keyOf(l *deadletter.Letter) string {
	switch by {
	case byDevice:
		return l.Device
	case byHour:
		return l.At().Truncate(time.Hour).Format("2006-01-02T15:00Z")
	}
	return l.ReasonText()
}

// maxGroups bounds the memory of counting; letters of further groups are counted together.
const maxGroups = 10_000

// letterGroup is a line of dlq list --by. Its key is the reason, device or hour.
type letterGroup struct {
	By       groupBy          `json:"by"`
	Key      string           `json:"key"`
	Count    int              `json:"count"`
	Newest   time.Time        `json:"newest"`
	ByReason deadletter.Tally `json:"by_reason"`
	// Others: the letters of all groups beyond maxGroups together.
	Others bool `json:"others,omitempty"`
}

// groups count dead letters.
type groups struct {
	by     groupBy
	all    map[string]*letterGroup
	others letterGroup // those of the groups beyond maxGroups
}

func newGroups(by groupBy) *groups {
	return &groups{by: by, all: map[string]*letterGroup{}, others: letterGroup{By: by, ByReason: deadletter.Tally{}, Others: true}}
}

func (g *groups) add(l *deadletter.Letter) {
	key := g.by.keyOf(l)
	one, known := g.all[key]
	switch {
	case known:
	case len(g.all) < maxGroups:
		one = &letterGroup{By: g.by, Key: key, ByReason: deadletter.Tally{}}
		g.all[key] = one
	default:
		one = &g.others
	}
	one.Count++
	one.ByReason[l.ReasonText()]++
	if at := l.At(); at.After(one.Newest) {
		one.Newest = at
	}
}

// sorted lists the groups: hours by time, the newest first, and all others by their count.
func (g *groups) sorted() []*letterGroup {
	list := make([]*letterGroup, 0, len(g.all))
	for _, one := range g.all {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *letterGroup) int {
		if g.by == byHour {
			return strings.Compare(b.Key, a.Key)
		}
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
	})
	return list
}

// count prints the groups of the chosen letters.
func (c *dlqListCmd) count(ctx context.Context, out Streams, all []queue) error {
	g, counts := newGroups(c.By), deadletter.Tally{}
	err := walk(ctx, all, 0, func(_ queue, page []deadletter.Letter) error {
		counts.Add(page)
		for i := range page {
			g.add(&page[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := g.sorted()
	shown := list
	if c.Limit > 0 {
		shown = list[:min(c.Limit, len(list))]
	}
	if g.others.Count > 0 {
		shown = append(slices.Clone(shown), &g.others)
	}
	if c.JSON {
		for _, one := range shown {
			if err := printJSON(out.Out, one); err != nil {
				return err
			}
		}
		return nil
	}
	if counts.Total() == 0 {
		fmt.Fprintln(out.Out, "no dead letters")
		return nil
	}
	const line = "%9s  %-24s  %-23s  %s\n"
	fmt.Fprintf(out.Out, line, "COUNT", "NEWEST", strings.ToUpper(string(c.By)), "REASONS")
	for _, one := range shown {
		key := orDash(printable(one.Key))
		if one.Others {
			key = "(others)"
		}
		fmt.Fprintf(out.Out, line, thousands(int64(one.Count)), stamp(one.Newest), key, one.ByReason)
	}
	if c.Limit > 0 && c.Limit < len(list) {
		fmt.Fprintf(out.Out, "%s of %s shown\n", thousands(int64(c.Limit)), plural(len(list), string(c.By)))
	}
	fmt.Fprintf(out.Out, "%s: %s\n", plural(counts.Total(), "dead letter"), counts)
	return nil
}

package demo

import "time"

// action is what a scene does to the running system.
type action int

const (
	duplicate action = iota
	corrupt
	killWorker
	stopPostgres
	actions int = iota
)

const (
	duplicatesAtOnce = 1000
	// downtime is the time between the kill of the worker and the next start.
	downtime = 2 * time.Second
	// outage is the time that PostgreSQL is stopped.
	outage = 5 * time.Second
)

// scene is one fault of the story. A key plays it at any time and any number of times; without keys the story
// plays each scene once.
type scene struct {
	key    byte
	action action
	name   string // in the line of keys
	does   string
	expect string
	// at is when the story plays the scene, in a story of storyLength.
	at time.Duration
	// takes is how much time the story leaves for the scene before the demo ends.
	takes time.Duration
	// queued is how many further requests of a scene wait while it is played; the rest is refused.
	queued int
}

// storyLength is the length of a story that has all the time it wants.
const storyLength = 40 * time.Second

// scenes returns the story in the order in which it is told.
func scenes() []scene {
	return []scene{
		{
			key: 'd', action: duplicate, name: "1,000 duplicates",
			does:   "The newest 1,000 positions are published a second time.",
			expect: "no new row; the worker counts 1,000 as unchanged.",
			at:     4 * time.Second, takes: time.Second, queued: 16,
		},
		{
			key: 'b', action: corrupt, name: "12 bad entries",
			does:   "12 entries that no table can store are published.",
			expect: "12 dead letters, each with its reason; the flow goes on.",
			at:     9 * time.Second, takes: time.Second, queued: 16,
		},
		{
			key: 'k', action: killWorker, name: "kill -9 the worker",
			does:   "The worker is killed with SIGKILL, and started again after 2 s.",
			expect: "what it had read stays pending in Redis, and is taken again; no row is missing or there twice.",
			at:     14 * time.Second, takes: downtime + 2*time.Second,
		},
		{
			key: 'p', action: stopPostgres, name: "stop PostgreSQL for 5 s",
			does:   "PostgreSQL is stopped for 5 s, in the middle of its work.",
			expect: "a check fails, entries wait in Redis; then the worker catches up by itself.",
			at:     22 * time.Second, takes: outage + 3*time.Second,
		},
	}
}

// sceneOf returns the scene of a key, upper or lower case.
func sceneOf(key byte) (scene, bool) {
	for _, s := range scenes() {
		if key == s.key || key == s.key-'a'+'A' {
			return s, true
		}
	}
	return scene{}, false
}

// schedule returns the scenes with their times for a demo of this length, 0 for one without end. The story of a
// short demo is told faster, without the scenes that would not end in time.
func schedule(limit time.Duration) []scene {
	var story []scene
	for _, s := range scenes() {
		if limit > 0 && limit < storyLength {
			s.at = time.Duration(float64(s.at) * float64(limit) / float64(storyLength))
		}
		if s.fits(s.at, limit) {
			story = append(story, s)
		}
	}
	return story
}

// fits reports whether a scene that begins at a time ends before the demo does.
func (s scene) fits(at, limit time.Duration) bool { return limit == 0 || at+s.takes <= limit }

package store

import "errors"

// segment is a run of rows that are sent together.
type segment struct {
	rows     []int32 // indices of positions, sorted by key
	path     string
	search   bool // find rejected rows in one transaction
	failures int  // of attempts at these rows so far
	slow     int  // how many of them met the write timeout
}

// errCrowded: more than maxRejected rows of one transaction are rejected. Nothing is written.
var errCrowded = errors.New("too many rejected rows for one transaction")

// answer is what an attempt means for its segment.
type answer string

const (
	stored     answer = "stored"
	wrongPath  answer = "wrong path"  // refused by COPY or the plain insert; the upsert may do
	crowded    answer = "crowded"     // more rejected rows than one transaction looks for
	badRow     answer = "bad row"     // of class BadRow
	limit      answer = "limit"       // of class Limit
	unexpected answer = "unexpected"  // of class Unexpected
	badSchema  answer = "schema"      // of class Schema
	busy       answer = "busy"        // of class Unavailable, after the rows were sent
	slow       answer = "slow"        // the write timeout passed
	away       answer = "unavailable" // the server was not reached
)

// facts are what decide knows beside the segment.
type facts struct {
	careful bool // rows were refused lately for another reason than their values
	parked  bool // the rows were parked before
	doubt   bool // several rows were refused one by one, and none of the batch is stored yet
	spent   bool // enough attempts or time were spent on bisecting this batch
}

// action is what follows an attempt.
type action string

const (
	done   action = "done"
	again  action = "retry"  // the same rows after a short pause
	wait   action = "wait"   // report that the database is unavailable, then retry
	upsert action = "upsert" // the same rows by upsert, at once
	search action = "search" // bisect in one transaction
	split  action = "split"  // bisect, each part in a transaction of its own
	reject action = "reject" // the row is at fault, if the table takes others
	defers action = "defer"  // set the row or rows aside, and go on with the rest of the batch
)

// maxPatience is the greatest patience.
const maxPatience = 4

// patience is how many attempts fail before an answer is taken to concern some of the rows alone.
func patience(a answer, f facts) int {
	switch {
	case a == limit, f.parked, f.careful && a != slow:
		return 1
	case a == busy:
		return maxPatience
	default:
		return 2
	}
}

// decide returns what follows one attempt to write a segment, whose failures include this one. It is pure.
// docs/architecture.md has the same rules as a table.
func decide(s segment, a answer, f facts) action {
	one := len(s.rows) == 1
	switch a {
	case stored:
		return done
	case wrongPath:
		return upsert
	case crowded:
		return split
	case away:
		return wait
	case badRow:
		switch {
		case one && s.path != PathUpsert:
			return upsert
		case one:
			return reject
		case f.doubt:
			return defers
		case s.search:
			return split
		}
		return search
	}
	failures := s.failures
	if a == slow {
		failures = s.slow
	}
	switch {
	case failures < patience(a, f) && a == unexpected:
		return again
	case failures < patience(a, f):
		return wait
	case one, f.doubt, f.spent:
		return defers
	}
	return split
}

// answerTo says what the error of an attempt over the path means.
func answerTo(err error, path string) answer {
	var unsent notSent
	switch class := Classify(err); {
	case err == nil:
		return stored
	case errors.Is(err, errWrongPath):
		return wrongPath
	case errors.Is(err, errCrowded):
		return crowded
	case errors.As(err, &unsent):
		return away
	case errors.Is(err, errTimeout):
		return slow
	case path != PathUpsert && refusesPath(err, class):
		return wrongPath
	case class == BadRow:
		return badRow
	case class == Limit:
		return limit
	case class == Unexpected:
		return unexpected
	case class == Schema:
		return badSchema
	}
	return busy // a row may be the cause, whatever the code says: a trigger that asks another server, or ends its own
}

// refusesPath reports whether an error of COPY or of the plain insert is none that the upsert must share:
// row-level security and poolers refuse COPY, and neither takes a key that is there.
func refusesPath(err error, class Class) bool {
	switch SQLState(err) {
	case invalidBinary, protocolViolation:
		return true
	case "":
		return false
	}
	return class == Schema || class == Unexpected
}

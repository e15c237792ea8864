package pipeline

import (
	"sync"
	"time"
)

// seldom adds up what is to be logged, so that one line comes in every monitorInterval at most. It is safe
// for concurrent use.
type seldom struct {
	mu     sync.Mutex
	unsaid int64
	saidAt time.Time
}

// add returns the number to log now, with n; 0 where the line has to wait.
func (s *seldom) add(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaid += n
	if time.Since(s.saidAt) < monitorInterval {
		return 0
	}
	return s.take()
}

// rest returns the number that was not logged yet.
func (s *seldom) rest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take()
}

func (s *seldom) take() int64 {
	n := s.unsaid
	if n > 0 {
		s.unsaid, s.saidAt = 0, time.Now()
	}
	return n
}

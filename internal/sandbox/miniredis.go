//go:build !worker

package sandbox

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"
)

// StartMiniredis starts an imitation of Redis in this process, for a demo on machines without redis-server.
// Tests of Redis's behaviour must not use it. The caller calls stop, which waits for its goroutines.
func StartMiniredis() (url string, stop func(), err error) {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("start miniredis: %w", err)
	}
	return "redis://" + server.Addr(), server.Close, nil
}

package service

import "runtime"

// MostWriters is how many batches are written at once where nobody says how many.
const MostWriters = 4

// Writers returns how many batches are written at once for a setting of n: n, or
// for 0 one for each CPU of this process (GOMAXPROCS), 2 to MostWriters. Two keep the database
// busy while one decodes; more only take CPU from it where it is on the same few cores.
func Writers(n int) int {
	if n > 0 {
		return n
	}
	return min(max(runtime.GOMAXPROCS(0), 2), MostWriters)
}

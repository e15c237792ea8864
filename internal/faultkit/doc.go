// Package faultkit causes faults for tests: a proxy that cuts a connection at a chosen moment of
// its protocol, and child processes that are killed, stopped and continued. The servers that
// faults are done to come from packages sandbox and servertest.
//
// The package's own tests cause every fault of the failure table (docs/failures.md) on real
// servers and a real worker process. FAULTKIT_SCALE=full runs them at full length. TestSoak causes
// them at random, from a seed; read soak_plan_test.go, soak_fault_test.go, then soak_test.go.
package faultkit

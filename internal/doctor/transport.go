package doctor

import "processor/internal/transport"

// Transport warns where others in the network could read or answer what is sent to the servers. It reports
// nothing where they could not.
func Transport(redisURL, databaseURL string) []Finding {
	var findings []Finding
	add := func(server string, problem *transport.Problem) {
		if problem != nil {
			findings = append(findings, Finding{Server: server, Check: "encryption", State: Warning, Detail: problem.Text, Hint: problem.Fix})
		}
	}
	add("redis", transport.Redis(redisURL))
	add("postgres", transport.Postgres(databaseURL))
	return findings
}

package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/cli"
)

const unitPath = "deploy/systemd/processor.service"

// unit maps the keys of a systemd unit to their values, by section: "Service.Restart".
func unit(t *testing.T, text string) map[string][]string {
	t.Helper()
	found, section := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			require.Contains(t, []string{"Unit", "Service", "Install"}, section)
		default:
			key, value, is := strings.Cut(line, "=")
			require.True(t, is && regexp.MustCompile(`^[A-Z]\w*$`).MatchString(key), line)
			found[section+"."+key] = append(found[section+"."+key], value)
		}
	}
	return found
}

func TestSystemd_UnitFitsTheBinary(t *testing.T) {
	u := unit(t, read(t, unitPath))
	one := func(key string) string {
		require.Len(t, u[key], 1, key)
		return u[key][0]
	}
	command := strings.Fields(one("Service.ExecStart"))
	require.Equal(t, "/usr/local/bin/processor", command[0])
	requireCommand(t, command[1:]...)

	credentials := map[string]bool{}
	for _, credential := range u["Service.LoadCredential"] {
		name, path, _ := strings.Cut(credential, ":")
		credentials[name] = true
		require.Contains(t, read(t, "docs/systemd.md"), "install -m 0600 /dev/null "+path+"\n")
	}
	set := map[string]string{}
	for _, line := range u["Service.Environment"] {
		for _, word := range strings.Fields(line) {
			name, value, _ := strings.Cut(word, "=")
			requireVariable(t, name, unitPath)
			set[name] = value
			if file, is := strings.CutPrefix(value, "%d/"); is {
				require.True(t, credentials[file], word)
			}
		}
	}
	require.Contains(t, set, "REDIS_URL_FILE")
	require.Contains(t, set, "DATABASE_URL_FILE")

	require.Equal(t, strconv.Itoa(cli.ExitUsage), one("Service.RestartPreventExitStatus"))
	stop, err := time.ParseDuration(one("Service.TimeoutStopSec"))
	require.NoError(t, err)
	require.Greater(t, stop, shutdownTimeout(t))
	soft, hard := strings.TrimSuffix(set["GOMEMLIMIT"], "MiB"), strings.TrimSuffix(one("Service.MemoryMax"), "M")
	require.InDelta(t, 0.8, float(t, soft)/float(t, hard), 0.001, "as docs/systemd.md says")
	// With it the process collector has no process_start_time_seconds, which an alert needs.
	require.NotContains(t, u, "Service.ProcSubset")
}

// systemd itself reads the unit where this machine has it; the test above does everywhere.
func TestSystemd_UnitIsValidAndHardened(t *testing.T) {
	u := unit(t, read(t, unitPath))
	for key, value := range map[string]string{
		"DynamicUser": "yes", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict",
		"ProtectHome": "yes", "PrivateDevices": "yes", "RestrictAddressFamilies": "AF_INET AF_INET6",
		"MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
	} {
		require.Equal(t, []string{value}, u["Service."+key], key)
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return
	}
	copied := filepath.Join(t.TempDir(), "processor.service")
	self, err := os.Executable() // systemd wants a program that is there
	require.NoError(t, err)
	text := strings.Replace(read(t, unitPath), "/usr/local/bin/processor", self, 1)
	require.NoError(t, os.WriteFile(copied, []byte(text), 0o600))
	for _, args := range [][]string{{"verify"}, {"security", "--offline=true", "--threshold=15"}} {
		out, err := exec.CommandContext(t.Context(), tool, append(args, copied)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		if args[0] == "verify" {
			require.Empty(t, string(out)) // unknown keys are only reported
		}
	}
}

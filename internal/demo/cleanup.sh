# Removes what a demo leaves behind, however it ends: waits for the end of its standard input, which the demo holds
# open, then gives file descriptor 3, if it is a terminal, the settings $2, and removes the directory $1. A server
# that still runs there is one that the kernel did not end together with the demo.
trap '' HUP INT QUIT TERM TTOU PIPE
read -r _
[ -z "$2" ] || stty "$2" <&3
tries=0
while [ -e "$1" ] && [ "$tries" -lt 100 ]; do
	find "$1" -name postmaster.pid 2>/dev/null | while read -r file; do
		# Line 1 is the process, line 7 the key and id of its shared memory.
		pid=$(sed -n 1p "$file" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
		sed -n 7p "$file" 2>/dev/null | { read -r _ memory && ipcrm -m "$memory" 2>/dev/null; }
	done
	rm -rf "$1" 2>/dev/null || sleep 0.1
	tries=$((tries + 1))
done

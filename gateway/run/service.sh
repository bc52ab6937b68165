# shellcheck shell=bash disable=SC2034
# Processes of ours by pid: a pid file holds the pid, its start time and the
# boot it belongs to, so that a pid that has been given to somebody else is
# never signalled. Sourced after common.sh.

GATEWAY_READY_SECONDS=60
GATEWAY_DRAIN_SECONDS=40	# its own shutdown deadline, and some

LOG_KEEP_BYTES=$((10 * 1024 * 1024))

# A log that has grown gives way to a new one; one old one is kept.
rotate_log() {
	[ ! -f "$1" ] || [ "$(stat -c %s "$1")" -lt "$LOG_KEEP_BYTES" ] || mv -f "$1" "$1.1"
}

process_stamp() {
	local rest
	rest=$(sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
	[ -n "$rest" ] || return 1
	[ "${rest%% *}" != Z ] || return 1
	printf '%s %s %s\n' "$1" "$(cut -d' ' -f20 <<<"$rest")" "$(cat /proc/sys/kernel/random/boot_id)"
}

# live_pid FILE: the pid, when that very process still runs.
live_pid() {
	local pid
	pid=$(cut -d' ' -f1 "$1" 2>/dev/null) && [ -n "$pid" ] &&
		[ "$(process_stamp "$pid")" = "$(cat "$1")" ] && printf '%s\n' "$pid"
}

# stop_process FILE SECONDS: SIGTERM, wait, and SIGKILL only when that was in vain.
stop_process() {
	local file=$1 limit=$2 pid start=$SECONDS
	if pid=$(live_pid "$file"); then
		kill -TERM "$pid" 2>/dev/null
		while live_pid "$file" >/dev/null; do
			if [ $((SECONDS - start)) -ge "$limit" ]; then
				say "process $pid did not stop within $limit s: killed" >&2
				kill -KILL "$pid" 2>/dev/null
				break
			fi
			sleep 0.1
		done
	fi
	: > "$file"
}

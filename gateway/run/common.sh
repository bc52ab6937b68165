# shellcheck shell=bash
# What every script behind make run, start, stop and test shares: saying things,
# progress, who we are, and acting as the unprivileged user. Sourced; sets
# $top (the checkout) and leaves the shell in it.

set -u -o pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL CDPATH
umask 022

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${me:-ccproxy_metrics}" "$*" >&2; exit 1; }

# show_progress LABEL: swallows what a long step prints and shows that it moves.
show_progress() {
	local label=$1 line='' last='' start=$SECONDS shown=0 rc
	[ -t 1 ] || say "$label ..."
	while :; do
		IFS= read -r -t 1 line; rc=$?
		[ $rc -eq 0 ] || [ $rc -gt 128 ] || break
		[ -n "$line" ] && last=$line
		[ $((SECONDS - shown)) -ge 1 ] || continue
		if [ -t 1 ]; then
			printf '\r\033[K%s ... %d s  %.60s' "$label" $((SECONDS - start)) "$last"
			shown=$SECONDS
		elif [ $((SECONDS - shown)) -ge 15 ] && [ $((SECONDS - start)) -ge 15 ]; then
			printf '  %d s  %.100s\n' $((SECONDS - start)) "$last"
			shown=$SECONDS
		fi
	done
	[ -t 1 ] && printf '\r\033[K%s ... %d s\n' "$label" $((SECONDS - start))
	return 0
}

# long_step LABEL LOGFILE COMMAND...: runs it, output to the log, progress on
# the terminal; when it fails, the end of the log. The log is written by
# $log_user, when that is set: root opens no file in a folder of somebody else's.
long_step() {
	local label=$1 log=$2 rc
	shift 2
	rm -f "$log"
	"$@" </dev/null 2>&1 | as_user "${log_user:-$(id -un)}" tee "$log" | show_progress "$label"
	rc=${PIPESTATUS[0]}
	if [ "$rc" -ne 0 ]; then
		tail -n 20 "$log" | cut -c1-200 | sed 's/^/    /' >&2
		printf '%s: failed: %s (whole log: %s)\n' "${me:-ccproxy_metrics}" "$label" "$log" >&2
	fi
	return "$rc"
}

# The user whose files these are: the one behind sudo, or ourselves.
invoker=$(id -un)
if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] && id -u "$SUDO_USER" >/dev/null 2>&1; then
	invoker=$SUDO_USER
fi

# The user the servers run as: never root.
server_user() {
	if [ "$(id -u)" != 0 ]; then
		id -un
	elif [ "$invoker" != root ]; then
		printf '%s\n' "$invoker"
	else
		printf 'postgres\n'
	fi
}

# as_user USER COMMAND...: keeps the environment, but for what names a home.
# Nothing it starts inherits descriptor 9, the scripts' lock.
as_user() {
	local user=$1
	shift
	if [ "$(id -un)" = "$user" ]; then
		"$@" 9>&-
	else
		setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- \
			env HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" LOGNAME="$user" "$@" 9>&-
	fi
}

# is_free HOST PORT: nobody listens there.
is_free() {
	! (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

free_kb() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }

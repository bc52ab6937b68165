# shellcheck shell=bash disable=SC2034,SC2154 # names set by, and for, whoever sources this
# What the measurements of the gateway share: a cluster and a gateway of their
# own in a temporary folder, their CPU time, and medians. Sourced after
# gateway/run/common.sh and packages.sh; sets $dir and removes it at the end.

TICKS=$(getconf CLK_TCK)

pg_config=$(command -v "${PG_CONFIG:-pg_config}") || die "pg_config is not in PATH"
pg_bin=$("$pg_config" --bindir)
pg_major=$(pg_major)
user=$(server_user)
dir=
gateway_pid=
helper_pids=

as_bench() { (cd "$dir/run" && as_user "$user" "$@"); }

finish() {
	local pid
	for pid in $helper_pids $gateway_pid; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	[ ! -e "$dir/run/pg/postmaster.pid" ] || as_bench "$pg_bin/pg_ctl" stop -s -m fast -D "$dir/run/pg"
	rm -rf "$dir"
}

# start_postgres PROGRAM...: builds what is measured and the programs that
# measure (build/run/...), and starts a cluster with the metrics table.
start_postgres() {
	make -s PG_CONFIG="$pg_config" all "$@" >&2 || die "the build failed"
	dir=$(mktemp -d /tmp/ccproxy-bench.XXXXXX) || exit 1
	chmod 755 "$dir"
	trap finish EXIT
	trap 'exit 130' INT TERM
	make -s PG_CONFIG="$pg_config" install DESTDIR="$dir/stage" >&2 || die "staging failed"
	install -m 755 gateway/ccproxy-gateway "$@" "$dir/"
	mkdir "$dir/run" && { [ "$(id -un)" = "$user" ] || chown "$user:" "$dir/run"; }
	as_bench "$pg_bin/initdb" -D "$dir/run/pg" -U postgres -A peer -E UTF8 --locale=C --data-checksums >/dev/null || die "initdb failed"
	{
		printf "%s\n" "listen_addresses = ''" "unix_socket_directories = '$dir/run'" "max_wal_size = '8GB'" "shared_buffers = '512MB'" "checkpoint_timeout = '30min'"
		if [ "$pg_major" -ge 18 ]; then
			printf "extension_control_path = '%s:\$system'\n" "$dir/stage$("$pg_config" --sharedir)"
			printf "dynamic_library_path = '%s:\$libdir'\n" "$dir/stage$("$pg_config" --pkglibdir)"
		else
			printf "extension_destdir = '%s'\n" "$dir/stage"
		fi
	} | as_bench tee -a "$dir/run/pg/postgresql.conf" >/dev/null
	printf 'local all all peer map=bench\n' | as_bench tee "$dir/run/pg/pg_hba.conf" >/dev/null
	printf 'bench %s postgres\n' "$user" | as_bench tee "$dir/run/pg/pg_ident.conf" >/dev/null
	as_bench "$pg_bin/pg_ctl" start -s -w -D "$dir/run/pg" -l "$dir/run/log" </dev/null >/dev/null ||
		{ tail "$dir/run/log" >&2; die "PostgreSQL did not start"; }
	psql_bench -c 'CREATE EXTENSION ccproxy_metrics' -c 'SELECT ccproxy.create_metrics_table()' >/dev/null || die "no extension"
}

psql_bench() { as_bench "$pg_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir/run" -U postgres -d postgres "$@"; }

# empty_table TABLE...: partitioned; as maintain() leaves partitions that are being
# filled, which TRUNCATE and CREATE do not.
empty_table() {
	local t
	for t; do
		psql_bench -c "TRUNCATE $t" -c "SELECT ccproxy._summarize(inhrelid, true) FROM pg_inherits WHERE inhparent = '$t'::regclass" >/dev/null ||
			die "cannot empty $t"
	done
	psql_bench -c CHECKPOINT
}

# start_program PROGRAM ARGUMENT...: in the background, as the server's user;
# $! is its process.
start_program() {
	local as=()
	[ "$(id -un)" = "$user" ] || as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --)
	(cd "$dir/run" && exec "${as[@]}" "$@") </dev/null &
}

free_port() {
	local p=$1
	until is_free 127.0.0.1 "$p"; do p=$((p + 1)); done
	printf '%s\n' "$p"
}

# wait_for_answer URL PID
wait_for_answer() {
	local i
	for ((i = 0; i < 300; i++)); do
		curl -s -f -o /dev/null "$1" && return
		kill -0 "$2" 2>/dev/null || return
		sleep 0.1
	done
	return 1
}

# start_gateway [NAME=VALUE...]: with these variables in its environment.
start_gateway() {
	port=$(free_port 8900)
	url=http://127.0.0.1:$port
	start_program env CCPROXY_METRICS_DB_URL="host=$dir/run user=postgres dbname=postgres" \
		CCPROXY_LISTEN="127.0.0.1:$port" "$@" "$dir/ccproxy-gateway" > "$dir/gateway.log" 2>&1
	gateway_pid=$!
	wait_for_answer "$url/readyz" "$gateway_pid" || { tail -n 5 "$dir/gateway.log" >&2; die "the gateway did not start"; }
	backend_pid=$(psql_bench -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'ccproxy-gateway'")
}

stop_gateway() {
	kill "$gateway_pid"
	wait "$gateway_pid" 2>/dev/null
	gateway_pid=
}

# ticks STAT: of CPU, from the text of a /proc/PID/stat, threads included
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' <<<"$1"; }
# cpu_ticks PID
cpu_ticks() { ticks "$(cat "/proc/$1/stat")"; }

resident_kb() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

# median < NUMBERS, one a line
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# run_loader ARGUMENT...: what it says goes to $dir/loader.out
run_loader() {
	"$top/build/run/loader" --url "${loader_url:-$url}" "$@" > "$dir/loader.out" ||
		{ cat "$dir/loader.out" >&2; tail -n 5 "$dir/gateway.log" >&2; die "not every event was accepted"; }
}
# said NAME: one number of it
said() { sed -n "s/^$1=//p" "$dir/loader.out"; }

# How long the disk takes to make a small write durable.
fsync_line() {
	as_bench "$pg_bin/pg_test_fsync" -s 1 -f "$dir/run/fsync.tmp" 2>/dev/null |
		awk '$1 == "fdatasync" && $3 == "ops/sec" && !seen++ { printf "disk         %9.2f ms an fdatasync of 8 kB\n", 1000 / $2 }'
}

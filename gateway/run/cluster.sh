# shellcheck shell=bash disable=SC2015,SC2034,SC2154
# The private PostgreSQL cluster of make run and make start. Sourced after
# common.sh; uses $state (its folder), $owner (the user it runs as) and
# $pg_bin (the server's programs).
#
#	$state/pg/data	data folder		$state/pg/sock	Unix socket
#	$state/log		logs			$state/stage	extension, when not in the system
#	$state/pg_port	the port, kept from run to run

DATABASE=ccproxy
OWNER_ROLE=ccproxy
GATEWAY_ROLE=ccproxy_gateway
PG_FIRST_PORT=25432			# below the ports that outgoing connections get
PG_PORTS=100
PG_PORT_SECONDS=5
PG_START_SECONDS=600		# crash recovery included
INITDB_FREE_KB=$((300 * 1024))
START_FREE_KB=$((100 * 1024))
SOCKET_PATH_MAX=107			# sockaddr_un

as_owner() { (cd "$state" && as_user "$owner" "$@"); }

# The caller's own libpq settings are about other servers.
forget_environment() {
	unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE \
		PGOPTIONS PGDATA PGSSLMODE PGSSLROOTCERT PGCLIENTENCODING PGTZ PGDATESTYLE PGAPPNAME PGTARGETSESSIONATTRS
}

# A socket's path is short by law; a deep checkout gets a folder in /tmp.
socket_dir() {
	local dir=$state/pg/sock
	if [ ${#dir} -gt $((SOCKET_PATH_MAX - 20)) ]; then
		dir=/tmp/ccproxy-$(cksum <<<"$state" | cut -d' ' -f1)
		[ -d "$dir" ] || say "the path of $state is too long for a socket: it goes to $dir" >&2
	fi
	[ -d "$dir" ] || as_owner mkdir -m 700 "$dir" 2>/dev/null || die "cannot make $dir for the socket"
	[ ! -L "$dir" ] && [ "$(stat -c '%U %a' "$dir")" = "$owner 700" ] ||
		die "$dir is for the socket and must belong to $owner with mode 700"
	printf '%s\n' "$dir"
}

check_space() {
	local need=$1 have
	have=$(free_kb "$state")
	[ "${have:-0}" -ge "$need" ] ||
		die "no disk: $((${have:-0} / 1024)) MB free under $state, $((need / 1024)) MB are needed"
}

# The postmaster's pid, when it runs and is ours.
cluster_pid() {
	local pid
	pid=$(as_owner sed -n 1p "$state/pg/data/postmaster.pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$state/pg/data")" ] && printf '%s\n' "$pid"
}

cluster_init() {
	local locale=C.UTF-8 new=$state/pg/new
	check_space "$INITDB_FREE_KB"
	locale -a 2>/dev/null | grep -qix 'C\.utf-\?8' || locale=C
	as_owner rm -rf "$new"
	say "making a PostgreSQL $pg_major cluster in $state/pg/data"
	as_owner "$pg_bin/initdb" -D "$new" -U postgres -E UTF8 --locale="$locale" --data-checksums \
		--auth-local=peer --auth-host=scram-sha-256 2>&1 </dev/null | as_owner tee "$state/log/initdb.log" >/dev/null ||
		{ tail -n 5 "$state/log/initdb.log" >&2; die "initdb failed (log: $state/log/initdb.log)"; }
	{
		printf 'local all all peer map=ccproxy\n'
		printf 'host all all 127.0.0.1/32 scram-sha-256\n'
		printf 'host all all ::1/128 scram-sha-256\n'
	} | as_owner tee "$new/pg_hba.conf" >/dev/null
	for os in $(printf '%s\n' "$owner" "$invoker" "$(id -un)" | sort -u); do
		for role in postgres $OWNER_ROLE $GATEWAY_ROLE; do printf 'ccproxy "%s" %s\n' "$os" "$role"; done
	done | as_owner tee "$new/pg_ident.conf" >/dev/null
	printf "%s\n" "max_wal_size = '2GB'" "include 'ccproxy.conf'	# written at every start" |
		as_owner tee -a "$new/postgresql.conf" >/dev/null
	as_owner mv "$new" "$state/pg/data"
}

# What must hold whatever the user writes into postgresql.conf.
cluster_configure() {
	local port=$1
	{
		printf "listen_addresses = '127.0.0.1'\nport = %s\n" "$port"
		printf "unix_socket_directories = '%s'\n" "${socket//\'/\'\'}"
		if [ -d "$state/stage" ]; then
			if [ "$pg_major" -ge 18 ]; then
				printf "extension_control_path = '%s:\$system'\n" "$state/stage$("$pg_config" --sharedir)"
				printf "dynamic_library_path = '%s:\$libdir'\n" "$state/stage$("$pg_config" --pkglibdir)"
			else
				printf "extension_destdir = '%s'\n" "$state/stage"
			fi
		fi
	} | as_owner tee "$state/pg/data/ccproxy.conf" >/dev/null
}

# Where nobody waits for orphans (a container without init), a killed postmaster
# stays a zombie, and PostgreSQL takes its lock files for a running server's. They
# go when that process is dead and no other works in the data folder.
forget_dead_postmaster() {
	local pid cwd tries
	pid=$(as_owner sed -n 1p "$state/pg/data/postmaster.pid" 2>/dev/null) && [ -n "$pid" ] || return 0
	! process_stamp "$pid" >/dev/null && [ -d "/proc/$pid" ] || return 0
	for ((tries = 0; tries < 100; tries++)); do
		cwd=$(readlink -f "$state/pg/data")
		if ! find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$cwd" 2>/dev/null | grep -q .; then
			as_owner rm -f "$state/pg/data/postmaster.pid" "$socket/.s.PGSQL.$pg_port.lock"
			return
		fi
		sleep 0.1
	done
}

# One attempt on $pg_port: 0 ready, 1 the port was taken after all; dies otherwise.
postmaster_start() {
	local start=$SECONDS log=$state/log/postgresql.log lines
	rotate_log "$log"
	lines=$(as_owner wc -l "$log" 2>/dev/null | cut -d' ' -f1)
	as_owner "$pg_bin/pg_ctl" start -s -W -D "$state/pg/data" -l "$log" </dev/null >/dev/null 2>&1
	until "$pg_bin/pg_isready" -q -h "$socket" -p "$pg_port"; do
		sleep 0.1
		if [ $((SECONDS - start)) -ge 2 ] && ! cluster_pid >/dev/null; then
			if tail -n +$((${lines:-0} + 1)) "$log" | grep -q 'could not create any TCP/IP sockets'; then return 1; fi
			tail -n 5 "$log" >&2
			die "PostgreSQL did not start (log: $log)"
		fi
		[ $((SECONDS - start)) -lt $PG_START_SECONDS ] || die "PostgreSQL is not ready after $PG_START_SECONDS s (log: $log)"
		[ $(((SECONDS - start) % 10)) -ne 9 ] || { say "  PostgreSQL is still starting (recovery), $((SECONDS - start)) s"; sleep 1; }
	done
}

cluster_start() {
	local made_by tries=0 start=$SECONDS
	if cluster_pid >/dev/null; then
		socket=$(socket_dir) || exit 1
		pg_port=$(cat "$state/pg_port")
		return 0
	fi
	made_by=$(as_owner cat "$state/pg/data/PG_VERSION" 2>/dev/null)
	[ -z "$made_by" ] || [ "$made_by" = "$pg_major" ] ||
		die "$state/pg/data was made by PostgreSQL $made_by, this is $pg_major: set PG_CONFIG= to the old one's"
	if [ -n "$made_by" ]; then check_space "$START_FREE_KB"; else cluster_init; fi
	socket=$(socket_dir) || exit 1
	pg_port=$(cat "$state/pg_port" 2>/dev/null || echo $PG_FIRST_PORT)
	# backends of a postmaster that was killed hold its port a moment longer
	until is_free 127.0.0.1 "$pg_port" || [ $((SECONDS - start)) -ge $PG_PORT_SECONDS ]; do sleep 0.1; done
	started_cluster=1
	for ((tries = 1; tries <= PG_PORTS; tries++)); do
		if is_free 127.0.0.1 "$pg_port"; then
			printf '%s\n' "$pg_port" > "$state/pg_port" && chown -h "$invoker:" "$state/pg_port"
			cluster_configure "$pg_port"
			forget_dead_postmaster
			! postmaster_start || return 0
		fi
		pg_port=$((PG_FIRST_PORT + tries))
	done
	die "no free port for PostgreSQL from $PG_FIRST_PORT on"
}

cluster_stop() {
	local pid tries
	pid=$(cluster_pid) || return 0
	as_owner "$pg_bin/pg_ctl" stop -s -m fast -w -t 120 -D "$state/pg/data" </dev/null ||
		die "PostgreSQL did not stop (log: $state/log/postgresql.log)"
	# its pid file goes a moment before the process does
	for ((tries = 0; tries < 50; tries++)); do
		process_stamp "$pid" >/dev/null || break
		sleep 0.1
	done
	# a socket's folder outside of ours is not left behind
	case $(socket_dir 2>/dev/null) in
	/tmp/ccproxy-*) as_owner rmdir "$(socket_dir 2>/dev/null)" 2>/dev/null ;;
	esac
	return 0
}

# psql_as ROLE DATABASE [ARGUMENT...]: over the socket, as the owner's OS user.
psql_as() {
	local role=$1 database=$2
	shift 2
	as_owner "$pg_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$socket" -p "$pg_port" -U "$role" -d "$database" "$@"
}

# The roles, the database, the extension, the tables: whatever of it is missing.
# The metrics' owner is no superuser; the gateway's role may only write and read.
cluster_provision() {
	local password=$1
	psql_as postgres postgres >/dev/null <<-SQL || die "cannot make the roles and the database (log: $state/log/postgresql.log)"
		SELECT format('CREATE ROLE %I LOGIN', r) FROM unnest('{$OWNER_ROLE,$GATEWAY_ROLE}'::text[]) r
		 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) \gexec
		ALTER ROLE $OWNER_ROLE PASSWORD '$password';
		SELECT 'CREATE DATABASE $DATABASE OWNER $OWNER_ROLE'
		 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$DATABASE') \gexec
	SQL
	provision_extension psql_as "$OWNER_ROLE" "$DATABASE" || exit 1
	psql_as "$OWNER_ROLE" "$DATABASE" >/dev/null <<-SQL || die "cannot grant the gateway its rights"
		SELECT ccproxy.grant_gateway('$GATEWAY_ROLE'), ccproxy.grant_read('$GATEWAY_ROLE');
	SQL
}

# provision_extension PSQL...: through any psql that reaches the database.
provision_extension() {
	local version
	"$@" >/dev/null <<-'SQL' || die "CREATE EXTENSION ccproxy_metrics failed (above)"
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS ccproxy_metrics;
		ALTER EXTENSION ccproxy_metrics UPDATE;
		SELECT ccproxy.create_metrics_table();
	SQL
	version=$("$@" -c "SELECT extversion FROM pg_extension WHERE extname = 'ccproxy_metrics'") || exit 1
	say "extension ccproxy_metrics $version is ready"
}

# shellcheck shell=bash disable=SC2015,SC2016,SC2154
# Finds which packages of gateway/run/packages are missing and installs them,
# as root or through sudo; without either it prints the one line that does.
# Sourced after common.sh.

PG_MIN=14
PG_MAX=18

# The pg_config that counts: PG_CONFIG, else the first in PATH. Headers as well
# as PGXS: Debian's postgresql-client-N has pgxs.mk alone.
pg_config_usable() {
	local pgxs headers
	pgxs=$("${PG_CONFIG:-pg_config}" --pgxs 2>/dev/null) && [ -f "$pgxs" ] &&
		headers=$("${PG_CONFIG:-pg_config}" --includedir-server 2>/dev/null) && [ -f "$headers/postgres.h" ]
}

pg_major() { "${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'; }

# N for package names: what is installed, else what Debian would install.
wanted_major() {
	local n
	if [ -n "${PG_CONFIG:-}" ] || pg_config_usable; then
		pg_major
		return
	fi
	n=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null |
		cut -d/ -f5 | sort -n | tail -n 1)
	[ -n "$n" ] || n=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	printf '%s\n' "$n"
}

package_present() {
	local kind=${1%%:*} what=${1#*:}
	case $kind in
	command) command -v "$what" >/dev/null || [ -x "/usr/sbin/$what" ] ;;
	file) [ -e "$what" ] ;;
	library) pkg-config --exists "$what" 2>/dev/null ;;
	perl) perl -M"$what" -e 1 2>/dev/null ;;
	pgxs) pg_config_usable ;;
	server) [ -x "$("${PG_CONFIG:-pg_config}" --bindir 2>/dev/null)/$what" ] ;;
	fuzzer) [ -n "$(find /usr/lib/llvm-*/lib/clang /usr/lib/clang -name 'libclang_rt.fuzzer-*.a' 2>/dev/null)" ] ;;
	*) die "gateway/run/packages: unknown check '$1'" ;;
	esac
}

# missing_packages N PART...
missing_packages() {
	local n=$1 part check package
	shift
	while read -r part check package; do
		case " $* " in *" $part "*) ;; *) continue ;; esac
		package_present "$check" || printf '%s\n' "${package/%-N/-$n}"
	done < <(grep -v '^#' gateway/run/packages | grep .) | sort -u
}

# Debian's postgresql-N makes and starts a cluster "main" when it is first
# installed. This keeps it from that, and puts the file back afterwards.
CREATECLUSTER=/etc/postgresql-common/createcluster.conf

POLICY=/usr/sbin/policy-rc.d

# apt_install PACKAGE...: as root, in a shell of its own (its EXIT trap is used).
apt_install() {
	local apt=(apt-get -q -y -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 --no-install-recommends)
	export DEBIAN_FRONTEND=noninteractive
	trap 'apt_restore' EXIT
	# what comes along (prometheus) is not to be started as a service
	if [ ! -e $POLICY ]; then
		printf '#!/bin/sh\n# ccproxy_metrics: while packages are installed\nexit 101\n' > $POLICY && chmod 755 $POLICY
	fi
	if printf '%s\n' "$@" | grep -qx 'postgresql-[0-9]*'; then
		dpkg-query -W -f '${Status}' postgresql-common 2>/dev/null | grep -q 'ok installed' ||
			"${apt[@]}" install postgresql-common || return
		[ -e $CREATECLUSTER.ccproxy ] || cp -p $CREATECLUSTER $CREATECLUSTER.ccproxy || return
		sed -i '/^#* *create_main_cluster/d' $CREATECLUSTER
		printf 'create_main_cluster = false\n' >> $CREATECLUSTER
	fi
	"${apt[@]}" install "$@"
}

apt_restore() {
	[ ! -e $CREATECLUSTER.ccproxy ] || mv -f $CREATECLUSTER.ccproxy $CREATECLUSTER
	! grep -qs '^# ccproxy_metrics:' $POLICY || rm -f $POLICY
}

# ensure_packages PART...: returns when all of them are there.
ensure_packages() {
	local n missing update='' p log
	n=$(wanted_major)
	if [ -n "$n" ] && { [ "$n" -lt $PG_MIN ] || [ "$n" -gt $PG_MAX ]; }; then
		die "PostgreSQL $n is not supported: $PG_MIN to $PG_MAX are (PG_CONFIG=/path/to/pg_config chooses another)"
	fi
	[ -z "${PG_CONFIG:-}" ] || [ -n "$n" ] || die "PG_CONFIG=$PG_CONFIG does not run"
	missing=$(missing_packages "${n:-N}" "$@")
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null ||
		die "missing, and this is no Debian to install them on: $(tr '\n' ' ' <<<"$missing")"

	# empty or stale lists name no version for what is missing
	[ -n "$n" ] || update=--update
	for p in $missing; do
		apt-cache policy "$p" 2>/dev/null | grep -q 'Candidate: [0-9]' || update=--update
	done

	if [ "$(id -u)" != 0 ] && ! { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; then
		: "${n:=15}"
		missing=$(missing_packages "$n" "$@" | tr '\n' ' ')
		say "$me: Debian packages are missing and this user may not install them. As root:" >&2
		p='apt-get install -y --no-install-recommends'
		if grep -qw "postgresql-$n" <<<"$missing"; then
			say "apt-get update && $p postgresql-common && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' $CREATECLUSTER && $p $missing"
		else
			say "apt-get update && $p $missing"
		fi
		exit 1
	fi

	log=$(mktemp /tmp/ccproxy-packages.XXXXXX)
	# The lists may be needed to learn N; a second pass then has the names.
	as_root bash -c '. gateway/run/common.sh; . gateway/run/packages.sh; [ -z "$1" ] || apt-get -q update' _ "$update" >"$log" 2>&1 ||
		{ tail -n 5 "$log" >&2; die "apt-get update failed (log: $log)"; }
	[ -n "$n" ] || n=$(wanted_major)
	[ -n "$n" ] || die "Debian's package lists name no postgresql (log: $log)"
	missing=$(missing_packages "$n" "$@" | tr '\n' ' ')
	say "Debian packages to install: $missing"
	# shellcheck disable=SC2086 # a list of names
	long_step "installing packages" "$log" as_root bash -c \
		'me=$1; shift; . gateway/run/common.sh; . gateway/run/packages.sh; apt_install "$@" || { apt-get -q update && apt_install "$@"; }' \
		_ "$me" $missing || exit 1
	rm -f "$log"
	missing=$(missing_packages "$n" "$@")
	[ -z "$missing" ] || die "still missing after installing: $(tr '\n' ' ' <<<"$missing")"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo PG_CONFIG="${PG_CONFIG:-}" "$@"; fi
}

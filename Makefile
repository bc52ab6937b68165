# ccproxy_metrics: the PostgreSQL extension (PGXS) and its gateway.
# `make help` lists the targets. The targets that start, test or explain work
# before PostgreSQL's headers are there: their scripts install what is missing.

EXTENSION  = ccproxy_metrics
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" ccproxy_metrics.control)

MODULE_big = ccproxy_metrics
PRICING_C  = $(sort $(wildcard pricing/*.c))
# what the extension shares with the gateway's decoder: plain C
SHARED_C   = gateway/timestamp.c gateway/decimal.c
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard extension/*.c)) $(PRICING_C) $(SHARED_C))
DATA       = $(wildcard sql/upgrade/$(EXTENSION)--*--*.sql)
DATA_built = build/$(EXTENSION)--$(EXTVERSION).sql

WARNINGS     = -Wall -Wextra -Werror
PG_CPPFLAGS  = -I$(CURDIR)
PG_CFLAGS    = -std=gnu11 $(WARNINGS) -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -MMD -MP

# make installcheck runs the SQL tests against a server that has the extension
REGRESS      = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=test

EXTRA_CLEAN = build gateway/ccproxy-gateway test/results test/regression.diffs test/regression.out \
              extension/*.d pricing/*.d gateway/*.d

PG_CONFIG ?= pg_config
# both: Debian's postgresql-client-N has pgxs.mk without the headers
PGXS := $(if $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h),$(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null)))
ifneq ($(PGXS),)
include $(PGXS)
-include $(OBJS:.o=.d)
else
all install uninstall clean installcheck:
	@echo "$@: no PostgreSQL server headers ('$(PG_CONFIG) --includedir-server' has no postgres.h): apt-get install postgresql-server-dev-all, or set PG_CONFIG=" >&2; exit 1
endif

build/$(EXTENSION)--$(EXTVERSION).sql: $(sort $(wildcard sql/*.sql))
	@mkdir -p build
	cat $^ > $@.new && mv $@.new $@

# ---------------------------------------------------------------- gateway
include gateway/gateway.mk
include pricing/pricing.mk
include gateway/grafana/grafana.mk

# Without its libraries the extension still builds and installs alone.
GATEWAY_MISSING := $(strip $(foreach lib,$(GATEWAY_LIBS),$(shell pkg-config --exists $(lib) 2>/dev/null || echo $(lib))))
ifneq ($(PGXS),)
ifeq ($(GATEWAY_MISSING),)
all: gateway
install: install-gateway
else
all: gateway-skipped
endif
uninstall: uninstall-gateway
endif

gateway-skipped:
	@echo "gateway skipped: pkg-config finds no $(GATEWAY_MISSING) (packages: gateway/run/packages)"

# empty, also when given so: no unit file
SYSTEMD_UNIT_DIR ?= $(shell pkg-config --variable=systemdsystemunitdir systemd 2>/dev/null)

install-gateway: gateway
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(GATEWAY_BIN) '$(DESTDIR)$(bindir)/ccproxy-gateway'
ifneq ($(SYSTEMD_UNIT_DIR),)
	$(MKDIR_P) '$(DESTDIR)$(SYSTEMD_UNIT_DIR)'
	sed 's,@bindir@,$(bindir),' gateway/run/ccproxy-gateway.service > '$(DESTDIR)$(SYSTEMD_UNIT_DIR)/ccproxy-gateway.service'
endif

uninstall-gateway:
	rm -f '$(DESTDIR)$(bindir)/ccproxy-gateway' $(if $(SYSTEMD_UNIT_DIR),'$(DESTDIR)$(SYSTEMD_UNIT_DIR)/ccproxy-gateway.service')

# ------------------------------------------------------- run, test, measure
RUN_FLAGS = -std=gnu11 -O2 -g $(WARNINGS) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -D_GNU_SOURCE -I$(CURDIR)
TRAFFIC_C = gateway/run/traffic.c gateway/run/http_client.c
TRAFFIC_H = gateway/run/traffic.h gateway/run/http_client.h

build/run/ccproxy-demo: gateway/run/demo.c $(TRAFFIC_C) $(TRAFFIC_H)
	@mkdir -p $(@D)
	$(CC) $(RUN_FLAGS) -o $@ $< $(TRAFFIC_C) -lm

build/run/loader: test/bench/loader.c $(TRAFFIC_C) $(TRAFFIC_H)
	@mkdir -p $(@D)
	$(CC) $(RUN_FLAGS) -o $@ $< $(TRAFFIC_C) -lm -lpthread

build/run/bare_http: test/bench/bare_http.c
	@mkdir -p $(@D)
	$(CC) $(RUN_FLAGS) -o $@ $< $(shell pkg-config --cflags --libs libmicrohttpd)

build/run/bare_commit: test/bench/bare_commit.c
	@mkdir -p $(@D)
	$(CC) $(RUN_FLAGS) -o $@ $< $(shell pkg-config --cflags --libs libpq)

run start stop demo login-link:
	@gateway/run/run $@

test:
	@test/run

crash:
	@CCPROXY_CRASH_ROUNDS=$${CCPROXY_CRASH_ROUNDS:-50} SUITES=crash test/run

reconcile:
	@CCPROXY_RECONCILE_ROUNDS=$${CCPROXY_RECONCILE_ROUNDS:-100} TAP_FILE_SECONDS=86400 SUITES=tap ONLY=050_reconciliation test/run

fuzz:
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} SUITES=fuzz test/run

bench:
	@set -e; for b in $${BENCH:-$(filter-out test/bench/soak %.c %.h %.md %.mk %.pm %.sh,$(wildcard test/bench/*))}; do echo "== $$b"; $$b; done

soak:
	@test/bench/soak

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

.PHONY: run start stop demo login-link test crash reconcile fuzz bench soak help gateway-skipped install-gateway uninstall-gateway
.DEFAULT_GOAL := all

## ccproxy_metrics
##
##   make run             install what is missing, build, start a private PostgreSQL
##                        and the gateway; Ctrl-C stops both, the data stays in var/
##     DEMO=1             also post a month of synthetic traffic (DEMO_EVENTS=300000)
##     DB_URL=postgres:// use that database and start no cluster
##     LISTEN=127.0.0.1:8787   where the gateway listens
##     STAGED=1           as root: install the extension under var/, not into the system
##   make start, stop     the same in the background; start waits until it is ready
##   make demo            post the demo month into what is running
##   make login-link      print another one-time link to the dashboard
##
##   make                 build extension and gateway (PG_CONFIG= chooses the server)
##   make install         install both (DESTDIR= honoured); uninstall takes them away
##   make installcheck    the SQL tests against the installed server
##   make test            every test; SUITES="regress unit ..." chooses
##   make crash           long rounds of kill -9, cut connections, full disks, failing
##                        fsync (CCPROXY_CRASH_ROUNDS=50, CCPROXY_CRASH_SECONDS= of a file)
##   make reconcile       statistics against raw rows over many random histories
##                        (CCPROXY_RECONCILE_ROUNDS=100, CCPROXY_RECONCILE_SEED=1)
##   make fuzz            long fuzzing (FUZZ_SECONDS=60 for each target)
##   make bench           measurements (BENCH=test/bench/ingest chooses)
##   make soak            ten minutes of load: memory must not grow (SOAK_SECONDS=600)
##   make catalogue       bring the shipped prices up to date (needs npm)
##   make grafana-schema  bring the schema of the dashboards up to date (needs npm)
##   make clean           remove what was built; var/ stays

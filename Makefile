# ccproxy_metrics: the PostgreSQL extension (PGXS) and its ingest gateway.
# `make help` lists the targets.

EXTENSION  = ccproxy_metrics
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" ccproxy_metrics.control)

MODULE_big = ccproxy_metrics
PRICING_C  = $(wildcard pricing/*.c)
# what the extension shares with the gateway's decoder: plain C
SHARED_C   = gateway/timestamp.c gateway/decimal.c
OBJS       = $(patsubst %.c,%.o,$(wildcard extension/*.c) $(PRICING_C) $(SHARED_C))
DATA       = $(wildcard sql/upgrade/$(EXTENSION)--*--*.sql)
DATA_built = build/$(EXTENSION)--$(EXTVERSION).sql

WARNINGS     = -Wall -Wextra -Werror
PG_CPPFLAGS  = -I$(CURDIR)
PG_CFLAGS    = -std=gnu11 $(WARNINGS) -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: gateway

build/$(EXTENSION)--$(EXTVERSION).sql: $(sort $(wildcard sql/*.sql))
	@mkdir -p build
	cat $^ > $@

# ---------------------------------------------------------------- gateway
include gateway/gateway.mk

# The programs of the test suite that need no PostgreSQL: test/unit/*.c (each
# prints TAP) and test/fuzz/*.c (each a LLVMFuzzerTestOneInput). Used by
# test/run, from the root of a tree: make -f test/native.mk OUT=... SAN=... units fuzzers
#
# What includes no PostgreSQL header is linked from two archives:
# libcore.a (pricing/*.c and extension/*_core*.c) and libgateway.a
# (gateway/*.c but main.c), the latter for programs named gateway_*.

include gateway/gateway.mk

OUT    ?= build/native
CC     ?= gcc
SAN    ?=
OPT    ?= -O2
# what makes a program of a fuzz target: libFuzzer, or the driver over a corpus
FUZZ_CC     ?= $(CC)
FUZZ_FLAGS  ?=
FUZZ_DRIVER ?= test/fuzz_driver.c

CORE_SRC    = $(sort $(wildcard pricing/*.c) $(wildcard extension/*_core*.c))
GW_SRC      = $(filter-out gateway/main.c,$(sort $(wildcard gateway/*.c)))
PKG_CFLAGS := $(shell pkg-config --cflags $(GATEWAY_LIBS))
PKG_LIBS   := $(shell pkg-config --libs $(GATEWAY_LIBS))
FLAGS       = -std=gnu11 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare \
              -fno-strict-aliasing               -D_GNU_SOURCE -I$(CURDIR) $(PKG_CFLAGS) $(SAN) $(WARN)

UNITS   = $(patsubst test/unit/%.c,$(OUT)/unit/%,$(sort $(wildcard test/unit/*.c)))
FUZZERS = $(patsubst test/fuzz/%.c,$(OUT)/fuzz/%,$(sort $(wildcard test/fuzz/*.c)))

units: $(UNITS)
fuzzers: $(FUZZERS)
all: units fuzzers

$(OUT)/o/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(OPT) -MMD -MP -c -o $@ $<

$(OUT)/libcore.a: $(CORE_SRC:%.c=$(OUT)/o/%.o)
$(OUT)/libgateway.a: $(GW_SRC:%.c=$(OUT)/o/%.o)
$(OUT)/libcore.a $(OUT)/libgateway.a:
	rm -f $@ && ar rcs $@ $^

# the test of what happens without memory decides which allocation fails
$(OUT)/unit/gateway_oom: WRAP = $(foreach f,malloc calloc realloc strdup strndup,-Wl,--wrap=$(f)) -fno-builtin

$(OUT)/unit/gateway_%: test/unit/gateway_%.c $(OUT)/libgateway.a $(OUT)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(OPT) -MMD -MP -MF $@.d $(WRAP) -o $@ $< $(OUT)/libgateway.a $(OUT)/libcore.a $(PKG_LIBS) -lpthread -lm

$(OUT)/unit/%: test/unit/%.c $(OUT)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(OPT) -MMD -MP -MF $@.d -o $@ $< $(OUT)/libcore.a -lcrypto -lpthread -lm

$(OUT)/fuzz/gateway_%: test/fuzz/gateway_%.c $(OUT)/libgateway.a $(OUT)/libcore.a
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FLAGS) $(FUZZ_FLAGS) $(OPT) -o $@ $< $(FUZZ_DRIVER) $(OUT)/libgateway.a $(OUT)/libcore.a $(PKG_LIBS) -lpthread -lm

$(OUT)/fuzz/%: test/fuzz/%.c $(OUT)/libcore.a
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FLAGS) $(FUZZ_FLAGS) $(OPT) -o $@ $< $(FUZZ_DRIVER) $(OUT)/libcore.a -lcrypto -lpthread -lm

-include $(wildcard $(OUT)/o/*/*.d) $(wildcard $(OUT)/unit/*.d)

.SECONDARY:
.PHONY: units fuzzers all
.DEFAULT_GOAL := all

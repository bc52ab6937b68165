# The gateway: gateway/*.c and the pricing core, in a build tree of its own
# (build/gateway), so that its objects never meet the extension's -fPIC ones.
# GATEWAY_CFLAGS / GATEWAY_BUILD may be overridden (test/run builds a second,
# sanitized tree that way).

GATEWAY_BUILD ?= build/gateway
GATEWAY_BIN   ?= gateway/ccproxy-gateway
GATEWAY_LIBS   = libmicrohttpd libcjson libpq libcrypto zlib sqlite3 gnutls
GATEWAY_SRC    = $(wildcard gateway/*.c) $(PRICING_C)
GATEWAY_OBJ    = $(patsubst %.c,$(GATEWAY_BUILD)/%.o,$(GATEWAY_SRC))
GATEWAY_CC    ?= $(CC)
GATEWAY_OPT   ?= -O2 -g
GATEWAY_FLAGS  = -std=gnu11 $(GATEWAY_OPT) $(WARNINGS) -Wno-unused-parameter -Wno-missing-field-initializers \
                 -Wshadow -Wstrict-prototypes -Wmissing-prototypes -D_GNU_SOURCE -fstack-protector-strong \
                 -I$(CURDIR) $(shell pkg-config --cflags $(GATEWAY_LIBS))

gateway: $(GATEWAY_BIN)

$(GATEWAY_BIN): $(GATEWAY_OBJ)
	$(GATEWAY_CC) $(GATEWAY_OPT) -o $@ $^ $(shell pkg-config --libs $(GATEWAY_LIBS)) -lpthread -lm

$(GATEWAY_BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(GATEWAY_CC) $(GATEWAY_FLAGS) -MMD -MP -c -o $@ $<

# the dashboard and the description of the API are part of the program
$(GATEWAY_BUILD)/gateway/assets.o: $(wildcard gateway/dashboard/*.html gateway/dashboard/*.css gateway/dashboard/*.js gateway/dashboard/vendor/*) gateway/openapi.json

-include $(GATEWAY_OBJ:.o=.d)

.PHONY: gateway

/*
 * The HTTP server: listening socket, libmicrohttpd's workers, connections and
 * their deadlines. Started and stopped by main.
 */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/request.h"

struct http;

/* How many workers these settings need. */
int			http_workers(const struct settings *settings);
/* NULL with one line in error. */
struct http *http_start(struct gateway *g, char error[SETTINGS_ERROR_SIZE])
			__attribute__((warn_unused_result));
uint16_t	http_port(const struct http *h);
/* True while the threads that watch over connections are at work. */
bool		http_alive(const struct http *h);
/*
 * Stops, once every request has been answered or timeout_ms has passed. False
 * when a request was still suspended then: libmicrohttpd must not be stopped
 * and the process has to leave without it.
 */
bool		http_stop(struct http *h, int timeout_ms) __attribute__((warn_unused_result));

#endif

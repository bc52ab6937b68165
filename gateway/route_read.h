/*
 * What the reading routes share. All of it runs in the request's worker.
 */
#ifndef GATEWAY_ROUTE_READ_H
#define GATEWAY_ROUTE_READ_H

#include "gateway/request.h"

/* Sets up the request's query; sql is static, values live in its arena. */
void		read_prepare(struct request *r, const char *sql);
void		read_parameter(struct request *r, const char *value);
/* As route.publish. */
bool		read_publish(struct request *r);
/* True when r->job.result holds rows; the refusal has been answered otherwise. */
bool		read_succeeded(struct request *r, bool expired);

#endif

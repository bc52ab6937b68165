/*
 * What the reading routes share. All of it runs in the request's worker, but
 * for rendering, which a reader's thread does.
 *
 *	handle():	read_prepare, read_parameter ..., then read_begin, which answers at
 *				once when it may;
 *	publish():	read_publish;
 *	render():	the route's, with the rows;
 *	finish():	read_finish, or read_succeeded and the route's own answer.
 */
#ifndef GATEWAY_ROUTE_READ_H
#define GATEWAY_ROUTE_READ_H

#include "gateway/request.h"

/* Sets up the request's query; sql is static, values live in its arena. */
void		read_prepare(struct request *r, const char *sql);
void		read_parameter(struct request *r, const char *value);
/* The same with a copy in the arena: a time, or a number. */
void		read_parameter_time(struct request *r, int64_t us);
void		read_parameter_int(struct request *r, int64_t n);
/* Settles what the client wants; JSON alone without a format. */
void		read_negotiate(struct request *r, enum query_format format);
/* Answers from what is kept, or has the request wait for the query. */
enum request_handled read_begin(struct request *r);
/* As route.publish. */
bool		read_publish(struct request *r);
/* True when r->job.page is the answer; the refusal has been answered otherwise. */
bool		read_succeeded(struct request *r, bool expired);
/* As route.finish: sends the page, or 304. */
void		read_finish(struct request *r, bool expired);
/* Answers a parse that was not QUERY_OK. */
enum request_handled read_refuse(struct request *r, enum query_status status, const struct query_error *error);
/* A JSON string, or null. */
void		read_json_or_null(struct text *t, const char *s);
/* "name": "time" */
void		read_json_time(struct text *t, const char *name, int64_t us);

#define CONTENT_CSV "text/csv; charset=utf-8; header=present"

#endif

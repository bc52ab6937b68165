/*
 * A small HTTP/1.1 client for the demo and the benchmarks: one keep-alive
 * connection, one request at a time, answers with a Content-Length.
 *
 * One thread per struct; http_client_close gives back what it holds. No TLS,
 * no proxies: it talks to a gateway on this machine.
 */
#ifndef GATEWAY_RUN_HTTP_CLIENT_H
#define GATEWAY_RUN_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_CLIENT_ANSWER_MAX	(1024 * 1024)
#define HTTP_CLIENT_TIMEOUT_S	120

struct http_client
{
	char		host[256];
	char		port[8];
	char		token[256];		/* sent as Bearer; "" sends none */
	int			fd;				/* -1 when not connected */
	char	   *answer;			/* headers and body of the last answer */
	size_t		answer_len;
	const char *body;			/* into answer, terminated */
	size_t		body_len;
	int			retry_after_s;	/* of the last answer; 0: none given */
	char		error[256];		/* why the last call returned -1 */
};

/* url is http://HOST:PORT. False and error when it is not, or out of memory. */
bool		http_client_init(struct http_client *c, const char *url, const char *token)
			__attribute__((warn_unused_result));
/*
 * Sends a request (body may be NULL) and reads its answer; connects when
 * needed, once more when the server had closed the idle connection. Returns
 * the status, or -1 with error.
 */
int			http_client_request(struct http_client *c, const char *method, const char *path,
								const char *content_type, const char *body, size_t body_len)
			__attribute__((warn_unused_result));
/* As http_client_request, but waits and tries again while the answer is 429 or
 * 503, for at most patience_s seconds. */
int			http_client_patient(struct http_client *c, const char *method, const char *path,
								const char *content_type, const char *body, size_t body_len,
								int patience_s)
			__attribute__((warn_unused_result));
/* The whole number that follows "key": in the last answer's body, or -1. */
long		http_client_count(const struct http_client *c, const char *key);
void		http_client_close(struct http_client *c);
/* First line of a file, into out; false when it cannot be read or is too long. */
bool		http_client_read_token(const char *file, char *out, size_t size)
			__attribute__((warn_unused_result));

#endif

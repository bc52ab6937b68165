/*
 * See http_client.h. Blocking sockets with time-outs; the answer's buffer is
 * allocated once and reused.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "gateway/run/http_client.h"

bool
http_client_init(struct http_client *c, const char *url, const char *token)
{
	const char *p = url;
	const char *colon;
	size_t		n;

	memset(c, 0, sizeof(*c));
	c->fd = -1;
	if (strncmp(p, "http://", 7) != 0)
		goto bad;
	p += 7;
	colon = strrchr(p, ':');
	if (colon == NULL || colon == p)
		goto bad;
	n = (size_t) (colon - p);
	if (*p == '[' && p[n - 1] == ']')
	{
		p++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(c->host))
		goto bad;
	memcpy(c->host, p, n);
	n = strspn(colon + 1, "0123456789");
	if (n == 0 || n >= sizeof(c->port) || (colon[1 + n] != '\0' && colon[1 + n] != '/'))
		goto bad;
	memcpy(c->port, colon + 1, n);
	if (token != NULL)
		snprintf(c->token, sizeof(c->token), "%s", token);
	c->answer = malloc(HTTP_CLIENT_ANSWER_MAX + 1);
	if (c->answer == NULL)
	{
		snprintf(c->error, sizeof(c->error), "out of memory");
		return false;
	}
	return true;

bad:
	snprintf(c->error, sizeof(c->error), "not a URL of the form http://HOST:PORT: %.200s", url);
	return false;
}

static void
disconnect(struct http_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static bool
connect_to(struct http_client *c)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	struct timeval limit = {.tv_sec = HTTP_CLIENT_TIMEOUT_S};
	int			rc;
	int			one = 1;

	rc = getaddrinfo(c->host, c->port, &hints, &list);
	if (rc != 0)
	{
		snprintf(c->error, sizeof(c->error), "%.200s: %s", c->host, gai_strerror(rc));
		return false;
	}
	errno = 0;
	for (struct addrinfo *a = list; a != NULL; a = a->ai_next)
	{
		c->fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (c->fd < 0)
			continue;
		if (connect(c->fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		rc = errno;
		disconnect(c);
		errno = rc;
	}
	freeaddrinfo(list);
	if (c->fd < 0)
	{
		snprintf(c->error, sizeof(c->error), "cannot connect to %.180s port %s: %s",
				 c->host, c->port, strerror(errno));
		return false;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return true;
}

static bool
send_all(struct http_client *c, const char *head, size_t head_len, const char *body, size_t body_len)
{
	struct iovec iov[2] = {{(void *) head, head_len}, {(void *) body, body_len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	while (iov[0].iov_len + iov[1].iov_len > 0)
	{
		ssize_t		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			snprintf(c->error, sizeof(c->error), "cannot send: %s", strerror(errno));
			return false;
		}
		for (int i = 0; i < 2; i++)
		{
			size_t		part = (size_t) n < iov[i].iov_len ? (size_t) n : iov[i].iov_len;

			iov[i].iov_base = (char *) iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t) part;
		}
	}
	return true;
}

/* The value of a header of the answer, or NULL. name is "name:". */
static const char *
find_header(const struct http_client *c, const char *name)
{
	const char *line = strstr(c->answer, "\r\n");

	while (line != NULL && line + 2 < c->body)
	{
		line += 2;
		if (strncasecmp(line, name, strlen(name)) == 0)
		{
			line += strlen(name);
			return line + strspn(line, " \t");
		}
		line = strstr(line, "\r\n");
	}
	return NULL;
}

/* Reads one answer; *any tells whether a byte of it came. */
static int
read_answer(struct http_client *c, bool *any)
{
	size_t		want = 0;		/* unknown until the headers are complete */
	const char *value;
	int			status;

	c->answer_len = 0;
	c->body = NULL;
	*any = false;
	for (;;)
	{
		ssize_t		n;

		if (c->body != NULL && c->answer_len >= want)
			break;
		if (c->answer_len >= HTTP_CLIENT_ANSWER_MAX)
		{
			snprintf(c->error, sizeof(c->error), "the answer is too long");
			return -1;
		}
		n = recv(c->fd, c->answer + c->answer_len, HTTP_CLIENT_ANSWER_MAX - c->answer_len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			snprintf(c->error, sizeof(c->error), "no answer: %s",
					 n == 0 ? "the connection was closed" : strerror(errno));
			return -1;
		}
		*any = true;
		c->answer_len += (size_t) n;
		c->answer[c->answer_len] = '\0';
		if (c->body == NULL)
		{
			char	   *end = strstr(c->answer, "\r\n\r\n");

			if (end == NULL)
				continue;
			c->body = end + 4;
			value = find_header(c, "content-length:");
			if (value == NULL)
			{
				snprintf(c->error, sizeof(c->error), "the answer has no Content-Length");
				return -1;
			}
			want = (size_t) (c->body - c->answer) + strtoul(value, NULL, 10);
			if (want > HTTP_CLIENT_ANSWER_MAX)
				want = HTTP_CLIENT_ANSWER_MAX + 1;
		}
	}
	c->body_len = c->answer_len - (size_t) (c->body - c->answer);
	if (sscanf(c->answer, "HTTP/1.%*d %d", &status) != 1)
	{
		snprintf(c->error, sizeof(c->error), "the answer is not HTTP");
		return -1;
	}
	value = find_header(c, "retry-after:");
	c->retry_after_s = value == NULL ? 0 : atoi(value);
	value = find_header(c, "connection:");
	if (value != NULL && strncasecmp(value, "close", 5) == 0)
		disconnect(c);
	return status;
}

int
http_client_request(struct http_client *c, const char *method, const char *path,
					const char *content_type, const char *body, size_t body_len)
{
	char		head[1536];
	int			head_len;

	if (body == NULL)
		body_len = 0;
	head_len = snprintf(head, sizeof(head),
						"%s %s HTTP/1.1\r\nHost: %s%s%s:%s\r\n%s%s%s%s%s%sContent-Length: %zu\r\n\r\n",
						method, path,
						strchr(c->host, ':') ? "[" : "", c->host, strchr(c->host, ':') ? "]" : "", c->port,
						c->token[0] ? "Authorization: Bearer " : "", c->token, c->token[0] ? "\r\n" : "",
						content_type ? "Content-Type: " : "", content_type ? content_type : "",
						content_type ? "\r\n" : "", body_len);
	if (head_len < 0 || (size_t) head_len >= sizeof(head))
	{
		snprintf(c->error, sizeof(c->error), "the request's head is too long");
		return -1;
	}
	for (int attempt = 0;; attempt++)
	{
		bool		reused = c->fd >= 0;
		bool		any = false;
		int			status = -1;

		if (!reused && !connect_to(c))
			return -1;
		if (send_all(c, head, (size_t) head_len, body, body_len))
			status = read_answer(c, &any);
		if (status >= 0)
			return status;
		disconnect(c);
		/* a kept connection may have been closed just now; nothing came back */
		if (!reused || any || attempt > 0)
			return -1;
	}
}

int
http_client_patient(struct http_client *c, const char *method, const char *path,
					const char *content_type, const char *body, size_t body_len, int patience_s)
{
	time_t		deadline = time(NULL) + patience_s;

	for (;;)
	{
		int			status = http_client_request(c, method, path, content_type, body, body_len);
		int			pause_s;

		if ((status != 429 && status != 503) || time(NULL) >= deadline)
			return status;
		pause_s = c->retry_after_s > 0 ? c->retry_after_s : 1;
		sleep((unsigned) (pause_s < 10 ? pause_s : 10));
	}
}

long
http_client_count(const struct http_client *c, const char *key)
{
	char		pattern[64];
	const char *p;

	snprintf(pattern, sizeof(pattern), "\"%s\":", key);
	if (c->body == NULL || (p = strstr(c->body, pattern)) == NULL)
		return -1;
	return strtol(p + strlen(pattern), NULL, 10);
}

void
http_client_close(struct http_client *c)
{
	disconnect(c);
	free(c->answer);
	c->answer = NULL;
}

bool
http_client_read_token(const char *file, char *out, size_t size)
{
	FILE	   *f = fopen(file, "r");
	bool		ok;

	if (f == NULL)
		return false;
	ok = fgets(out, (int) size, f) != NULL;
	fclose(f);
	if (!ok)
		return false;
	out[strcspn(out, "\r\n")] = '\0';
	return out[0] != '\0' && strlen(out) + 1 < size;
}

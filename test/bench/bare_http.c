/*
 * bare_http: what the HTTP library can do at most. A libmicrohttpd server with
 * the gateway's threads that reads each request's body, forgets it and answers
 * 200; nothing is decoded, nothing stored, nothing suspended.
 *
 *	bare_http PORT WORKERS		serves 127.0.0.1:PORT until SIGTERM
 */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* as the gateway says it, so that the loader's check holds */
static char answer[] = "{\"accepted\": 1, \"duplicates\": 0, \"rejected\": 0}\n";

static enum MHD_Result
handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	   const char *version, const char *data, size_t *len, void **context)
{
	static char started;
	struct MHD_Response *response;
	enum MHD_Result queued;

	(void) cls;
	(void) url;
	(void) method;
	(void) version;
	(void) data;
	if (*context == NULL)
	{
		*context = &started;
		return MHD_YES;
	}
	if (*len > 0)
	{
		*len = 0;
		return MHD_YES;
	}
	response = MHD_create_response_from_buffer(sizeof(answer) - 1, answer, MHD_RESPMEM_PERSISTENT);
	queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return queued;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct MHD_Daemon *daemon;
	sigset_t	set;
	int			signal_number;

	if (argc != 3)
	{
		fprintf(stderr, "usage: bare_http PORT WORKERS\n");
		return 2;
	}
	address.sin_port = htons((uint16_t) atoi(argv[1]));
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, NULL,
							  MHD_OPTION_SOCK_ADDR, &address,
							  MHD_OPTION_THREAD_POOL_SIZE, (unsigned) atoi(argv[2]),
							  MHD_OPTION_CONNECTION_LIMIT, 1024u,
							  MHD_OPTION_END);
	if (daemon == NULL)
	{
		fprintf(stderr, "bare_http: cannot listen on port %s\n", argv[1]);
		return 1;
	}
	sigwait(&set, &signal_number);
	MHD_stop_daemon(daemon);
	return 0;
}

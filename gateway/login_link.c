/*
 * ccproxy-gateway login-link [--user USER_ID] [--SETTING VALUE]...: see
 * login_link.h. It needs what the gateway has, its read_token_file, and talks to
 * nobody: the link is a stamp that the gateway can verify (session.h).
 */
#include "gateway/login_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/auth.h"
#include "gateway/log.h"
#include "gateway/tls.h"

#define EXIT_ARGUMENTS 2

/* Where browsers reach the dashboard. */
static void
print_url(const struct settings *s, const char *stamp)
{
	const bool	every = s->listen_host[0] == '\0' || strcmp(s->listen_host, "0.0.0.0") == 0 || strcmp(s->listen_host, "::") == 0;
	const char *host = every ? "localhost" : s->listen_host;
	const bool	v6 = strchr(host, ':') != NULL;

	if (s->dashboard_url[0])
		printf("%s", s->dashboard_url);
	else
		printf("%s://%s%s%s:%u/metrics/dashboard", tls_enabled(s) ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "", s->listen_port);
	if (stamp)
		printf("/login?t=%s", stamp);
	printf("\n");
}

static int
run(const struct settings *s, const char *user)
{
	char		error[SETTINGS_ERROR_SIZE] = "";
	char		stamp[SESSION_STAMP_SIZE];
	struct auth *auth;
	bool		made;

	/* nothing to sign in to: the page may be read by whoever reaches it */
	if (user[0] == '\0' && (s->read_token_file[0] == '\0' || !s->dashboard_auth_required))
	{
		print_url(s, NULL);
		return EXIT_SUCCESS;
	}
	auth = auth_open(s, error);
	if (auth == NULL)
	{
		fprintf(stderr, "ccproxy-gateway: %s\n", error);
		return EXIT_ARGUMENTS;
	}
	made = auth_make_link(auth, user, wall_clock_us() / 1000, stamp);
	auth_free(auth);
	if (!made)
	{
		if (user[0])
			fprintf(stderr, "ccproxy-gateway: read_token_file has no token with user=%s\n", user);
		else
			fprintf(stderr, "ccproxy-gateway: every token of read_token_file is limited to a user: give --user USER_ID\n");
		return EXIT_FAILURE;
	}
	print_url(s, stamp);
	return EXIT_SUCCESS;
}

int
login_link_main(int argc, char **argv)
{
	char	  **rest = calloc((size_t) argc + 1, sizeof(*rest));
	struct settings_input input = {.argv = rest, .envp = environ, .no_database = true};
	struct settings settings;
	enum settings_action action;
	const char *user = "";
	char		error[SETTINGS_ERROR_SIZE];
	int			rc = EXIT_ARGUMENTS;

	if (rest == NULL)
		return EXIT_FAILURE;
	/* the program's name, and all but "login-link" and --user */
	rest[input.argc++] = argv[0];
	for (int i = 2; i < argc; i++)
	{
		if (strcmp(argv[i], "--user") == 0 && i + 1 < argc)
			user = argv[++i];
		else if (strncmp(argv[i], "--user=", 7) == 0)
			user = argv[i] + 7;
		else
			rest[input.argc++] = argv[i];
	}
	if (!settings_load(&settings, &input, &action, error))
		fprintf(stderr, "ccproxy-gateway: %s\n", error);
	else if (action == ACTION_HELP)
	{
		printf("usage: ccproxy-gateway login-link [--user USER_ID] [--SETTING VALUE]...\n\n"
			   "Prints a link that signs one browser in to the dashboard, once, within 15 minutes.\n"
			   "With --user, the browser sees what that user's read token sees.\n");
		rc = EXIT_SUCCESS;
	}
	else
		rc = run(&settings, user);
	settings_free(&settings);
	free(rest);
	return rc;
}

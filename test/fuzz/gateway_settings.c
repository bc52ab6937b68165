/*
 * Fuzz: any configuration file, and any token file. Refusals are one line.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/auth.h"
#include "gateway/settings.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
take(void *context, const char *token, size_t len, const char *user, size_t user_len)
{
	(void) context;
	if (len == 0 || memchr(token, '\n', len) || memchr(token, ' ', len))
		abort();
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings s;
	char		error[SETTINGS_ERROR_SIZE] = "";
	char		redacted[256];
	char	   *text = malloc(size + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	settings_defaults(&s);
	if (settings_parse_file(&s, text, size, "fuzz", error))
	{
		if (!settings_check(&s, error) && (error[0] == '\0' || strchr(error, '\n')))
			abort();
		settings_redact_url(s.metrics_db_url, redacted, sizeof(redacted));
	}
	else if (error[0] == '\0' || strchr(error, '\n'))
		abort();
	settings_free(&s);
	(void) auth_parse_tokens(text, size, take, NULL);
	free(text);
	return 0;
}

/*
 * Fuzz: hostile label values. What is written is read back by a small parser of
 * the text format; every sample must come out whole, with the value that went
 * in (invalid UTF-8 replaced), on a line of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/exposition.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads one quoted value at *p into out; aborts when it is malformed. */
static void
read_value(const char **p, struct text *out)
{
	if (*(*p)++ != '"')
		abort();
	while (**p != '"')
	{
		char		c = *(*p)++;

		if (c == '\0' || c == '\n')
			abort();
		if (c == '\\')
		{
			c = *(*p)++;
			if (c == 'n')
				c = '\n';
			else if (c != '\\' && c != '"')
				abort();
		}
		text_putc(out, c);
	}
	(*p)++;
}

/* What escaping must keep: the value, cut, with U+FFFD for what is no UTF-8. */
static void
clean(const char *value, struct text *out)
{
	size_t		taken = 0;

	while (*value)
	{
		size_t		n = utf8_length((const unsigned char *) value, strlen(value));
		size_t		step = n ? n : 1;

		if (taken + step > EXPOSITION_LABEL_BYTES)
			break;
		if (n)
			text_append(out, value, n);
		else
			text_puts(out, "\xef\xbf\xbd");
		value += step;
		taken += step;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct exposition x;
	struct traffic_sample sample = {.family = traffic_family_find("requests"), .count = 1};
	char	   *copy = malloc(size + 1);
	const char *p;
	size_t		cut = 0;

	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	copy[size] = '\0';
	/* NULs part the labels */
	for (int i = 0; i < TRAFFIC_LABELS_MAX; i++)
	{
		sample.labels[i] = copy + cut;
		cut += strlen(copy + cut);
		if (cut < size)
			cut++;
	}
	exposition_init(&x, false);
	traffic_write(&x, &sample, 1);
	if (x.text.failed)
		abort();
	p = x.text.data;
	for (int i = 0; i < 2; i++)
	{
		if (*p != '#')
			abort();
		p = strchr(p, '\n') + 1;
	}
	p += strcspn(p, "{");
	for (int i = 0; i < TRAFFIC_LABELS_MAX; i++)
	{
		struct text got;
		struct text expected;

		text_init(&got);
		text_init(&expected);
		p += strcspn(p, "=") + 1;
		read_value(&p, &got);
		clean(sample.labels[i], &expected);
		if (got.len != expected.len || memcmp(got.data ? got.data : "", expected.data ? expected.data : "", got.len) != 0)
			abort();
		text_free(&got);
		text_free(&expected);
	}
	if (strcmp(p, "} 1\n") != 0)
		abort();
	exposition_free(&x);
	free(copy);
	return 0;
}

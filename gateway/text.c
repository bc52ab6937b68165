/*
 * Growing text (text.h). Pure; the caller owns the struct and frees it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/text.h"

#define TEXT_FIRST_BYTES 256

void
text_init(struct text *t)
{
	memset(t, 0, sizeof(*t));
}

void
text_free(struct text *t)
{
	free(t->data);
	text_init(t);
}

/* Makes room for n more bytes and a NUL. */
static bool
reserve(struct text *t, size_t n)
{
	size_t		size = t->size ? t->size : TEXT_FIRST_BYTES;
	char	   *data;

	if (t->failed)
		return false;
	if (n >= SIZE_MAX / 4 - t->len)
	{
		t->failed = true;
		return false;
	}
	if (t->data && t->len + n < t->size)
		return true;
	while (size <= t->len + n)
		size *= 2;
	data = realloc(t->data, size);
	if (data == NULL)
	{
		t->failed = true;
		return false;
	}
	t->data = data;
	t->size = size;
	return true;
}

void
text_append(struct text *t, const char *s, size_t len)
{
	if (!reserve(t, len))
		return;
	memcpy(t->data + t->len, s, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void
text_puts(struct text *t, const char *s)
{
	text_append(t, s, strlen(s));
}

void
text_putc(struct text *t, char c)
{
	text_append(t, &c, 1);
}

void
text_printf(struct text *t, const char *fmt,...)
{
	va_list		ap;
	int			n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !reserve(t, (size_t) n))
	{
		t->failed = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(t->data + t->len, (size_t) n + 1, fmt, ap);
	va_end(ap);
	t->len += (size_t) n;
}

void
text_i64(struct text *t, int64_t n)
{
	char		digits[24];
	char	   *p = digits + sizeof(digits);
	uint64_t	u = n < 0 ? -(uint64_t) n : (uint64_t) n;

	do
		*--p = (char) ('0' + u % 10);
	while ((u /= 10) != 0);
	if (n < 0)
		*--p = '-';
	text_append(t, p, (size_t) (digits + sizeof(digits) - p));
}

size_t
utf8_length(const unsigned char *s, size_t len)
{
	size_t		n;
	unsigned	min;
	unsigned	c;

	if (len == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2, min = 0x80, c = s[0] & 0x1f;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3, min = 0x800, c = s[0] & 0x0f;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4, min = 0x10000, c = s[0] & 0x07;
	else
		return 0;
	if (len < n)
		return 0;
	for (size_t i = 1; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = (c << 6) | (s[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

void
text_json_n(struct text *t, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *) s;
	const unsigned char *end = p + len;

	text_putc(t, '"');
	while (p < end)
	{
		const unsigned char *plain = p;
		size_t		n;

		while (p < end && *p >= ' ' && *p < 0x7f && *p != '"' && *p != '\\')
			p++;
		text_append(t, (const char *) plain, (size_t) (p - plain));
		if (p == end)
			break;
		n = utf8_length(p, (size_t) (end - p));
		if (n > 1)
			text_append(t, (const char *) p, n);
		else if (n == 0)
			text_puts(t, "\\ufffd");
		else if (*p == '"' || *p == '\\')
		{
			text_putc(t, '\\');
			text_putc(t, (char) *p);
		}
		else
			text_printf(t, "\\u%04x", *p);
		p += n ? n : 1;
	}
	text_putc(t, '"');
}

void
text_json(struct text *t, const char *s)
{
	text_json_n(t, s, strlen(s));
}

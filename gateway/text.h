/*
 * A growing piece of text, for answers. Appending never fails visibly: when
 * memory runs out `failed` is set and further appends do nothing, so a chain
 * of writes is checked once, at the end. One thread at a time.
 */
#ifndef GATEWAY_TEXT_H
#define GATEWAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text
{
	char	   *data;			/* NUL-terminated once anything was appended */
	size_t		len;
	size_t		size;
	bool		failed;
};

void		text_init(struct text *t);
void		text_free(struct text *t);
void		text_append(struct text *t, const char *s, size_t len);
void		text_puts(struct text *t, const char *s);
void		text_putc(struct text *t, char c);
void		text_printf(struct text *t, const char *fmt,...) __attribute__((format(printf, 2, 3)));
void		text_i64(struct text *t, int64_t n);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void		text_json(struct text *t, const char *s);
void		text_json_n(struct text *t, const char *s, size_t len);
/* Length of the UTF-8 character at s (at most len bytes), 0 when it is none. */
size_t		utf8_length(const unsigned char *s, size_t len);

#endif

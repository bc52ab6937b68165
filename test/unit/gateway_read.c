/*
 * What answers to reads are made of: rows as JSON and CSV, pages and their
 * cache, content negotiation.
 */
#include <zlib.h>

#include "gateway/accept.h"
#include "gateway/page.h"
#include "gateway/rows.h"
#include "test/unit/tap.h"

#define TEXTOID 25

static void
test_accept(void)
{
	is_int(accept_weight(NULL, "text/csv"), 1000, "no Accept takes all");
	is_int(accept_weight("text/csv", "text/csv"), 1000, "what is named");
	is_int(accept_weight("text/csv", "application/json"), 0, "what is not");
	is_int(accept_weight("*/*", "application/json"), 1000, "everything");
	is_int(accept_weight("text/*;q=0.3, */*;q=0.1", "text/csv"), 300, "a range");
	is_int(accept_weight("*/*, text/csv;q=0.5", "text/csv"), 500, "what names it counts more, wherever it stands");
	is_int(accept_weight("TEXT/CSV ; Q=0.25", "text/csv"), 250, "in any case, with spaces");
	is_int(accept_weight("text/csv;header=present;q=0.5", "text/csv"), 500, "parameters");
	is_int(accept_weight("text/csv;q=", "text/csv"), 0, "a broken weight is none");
	is_int(accept_weight(",,;,", "text/csv"), 0, "nonsense");
	is_int(accept_weight("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "text/plain"), 500, "Prometheus");
	ok(accept_gzip("gzip, deflate, br"), "gzip");
	ok(accept_gzip("*"), "gzip, for any");
	ok(!accept_gzip("identity") && !accept_gzip("gzip;q=0") && !accept_gzip(NULL), "no gzip");
}

static void
cell(const char *in, const char *out, const char *name)
{
	struct text t;

	text_init(&t);
	rows_csv_text(&t, in, strlen(in));
	is_str(t.data ? t.data : "", out, name);
	text_free(&t);
}

static PGresult *
make_rows(void)
{
	static PGresAttDesc columns[] = {
		{.name = "n", .typid = 20}, {.name = "f", .typid = 701}, {.name = "t", .typid = TEXTOID},
		{.name = "at", .typid = 1184}, {.name = "b", .typid = 16}, {.name = "j", .typid = 3802}
	};
	static const char *const values[2][6] = {
		{"-5", "1.5e-07", "=1+\"x\"", "2025-01-31 12:00:00.5+00", "t", "{\"a\": 1}"},
		{NULL, "NaN", NULL, "infinity", "f", NULL}
	};
	PGresult   *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	PQsetResultAttrs(rows, 6, columns);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 6; k++)
			PQsetvalue(rows, i, k, (char *) (uintptr_t) values[i][k], values[i][k] ? (int) strlen(values[i][k]) : -1);
	return rows;
}

static void
test_rows(void)
{
	PGresult   *rows = make_rows();
	struct text t;

	text_init(&t);
	rows_json_array(&t, rows, 0, 2, 0);
	is_str(t.data, "[\n"
		   "{\"n\": -5, \"f\": 1.5e-07, \"t\": \"=1+\\\"x\\\"\", \"at\": \"2025-01-31T12:00:00.5Z\", \"b\": true, \"j\": {\"a\": 1}},\n"
		   "{\"n\": null, \"f\": null, \"t\": null, \"at\": \"infinity\", \"b\": false, \"j\": null}]", "JSON by type");
	text_free(&t);
	text_init(&t);
	rows_json_array(&t, rows, 1, 1, 0);
	is_str(t.data, "[]", "no rows");
	text_free(&t);
	text_init(&t);
	rows_csv_header(&t, rows, 1, 6);
	rows_csv_row(&t, rows, 0, 0, 6);
	rows_csv_row(&t, rows, 1, 0, 6);
	is_str(t.data, "f,t,at,b,j\r\n"
		   "-5,1.5e-07,\"'=1+\"\"x\"\"\",2025-01-31T12:00:00.5Z,true,\"{\"\"a\"\": 1}\"\r\n"
		   ",NaN,,infinity,false,\r\n", "CSV: numbers stay numbers, formulas become text");
	text_free(&t);
	PQclear(rows);
	cell("plain", "plain", "a plain cell");
	cell("", "", "an empty one");
	cell("a,b", "\"a,b\"", "a comma");
	cell("a\"b", "\"a\"\"b\"", "a quote");
	cell("a\r\nb", "\"a\r\nb\"", "a line break");
	cell("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0", "a formula");
	cell("+1", "'+1", "plus");
	cell("-1", "'-1", "minus, in a text");
	cell("@SUM(1)", "'@SUM(1)", "at");
	cell("\t=1", "\"'\t=1\"", "a tab");
	cell("\r=1", "\"'\r=1\"", "a carriage return");
	cell(" x", "\" x\"", "a space at the edge");
}

static struct page *
page_of(const char *body, size_t tag_from)
{
	struct text t;

	text_init(&t);
	text_puts(&t, body);
	return page_new(200, "text/plain", &t, tag_from);
}

/* What gunzip makes of it. */
static char *
gunzip(const char *data, size_t len)
{
	static char out[20000];
	z_stream	z = {0};

	inflateInit2(&z, 15 + 16);
	z.next_in = (Bytef *) (uintptr_t) data;
	z.avail_in = (uInt) len;
	z.next_out = (Bytef *) out;
	z.avail_out = sizeof(out) - 1;
	out[inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0 ? z.total_out : 0] = '\0';
	inflateEnd(&z);
	return out;
}

static void
test_pages(void)
{
	struct page *a = page_of("1 same", 2);
	struct page *b = page_of("2 same", 2);
	struct page *c = page_of("1 other", 2);
	char		header[100];
	char		long_body[5001];
	struct text t;

	is_str(a->etag, b->etag, "what stands before does not matter");
	ok(strcmp(a->etag, c->etag) != 0, "what is said does");
	ok(strncmp(a->etag, "W/\"", 3) == 0, "a weak tag");
	snprintf(header, sizeof(header), "\"x\", %s", a->etag);
	ok(page_tag_matches(header, a->etag) && page_tag_matches(a->etag + 2, a->etag) && page_tag_matches("*", a->etag), "it is found");
	ok(!page_tag_matches(header, c->etag) && !page_tag_matches(NULL, a->etag) && !page_tag_matches("", a->etag), "or not");
	page_drop(b);
	page_drop(c);
	ok(page_gzip(a) && !a->gzip, "too short to compress");
	page_drop(a);

	memset(long_body, 'x', 5000);
	long_body[5000] = '\0';
	a = page_of(long_body, 0);
	ok(page_gzip(a) && a->gzip && a->len < 200, "compressed");
	is_str(gunzip(a->body, a->len), long_body, "... and back");
	page_drop(a);
	a = page_of(long_body, 0);
	ok(page_deflate_open(a), "compressed, to go on");
	text_init(&t);
	ok(page_deflate_end(a, &t, "the end", 7), "... and gone on with");
	has_str(gunzip(t.data, t.len), "xxthe end", "... and back");
	is_int((int64_t) strlen(gunzip(t.data, t.len)), 5007, "... all of it");
	text_free(&t);
	page_drop(a);
	a = page_of("", 0);
	ok(page_deflate_open(a), "nothing, compressed");
	text_init(&t);
	ok(page_deflate_end(a, &t, "the end", 7), "... and gone on with");
	is_str(gunzip(t.data, t.len), "the end", "... and back");
	text_free(&t);
	page_drop(a);
}

static void
test_cache(void)
{
	struct page_cache *c = page_cache_new(4000);
	struct page *p = page_of("p", 0);
	char		key[32];
	int			kept = 0;

	ok(page_cache_get(c, "p") == NULL, "nothing there");
	page_cache_put(c, "p", p);
	page_drop(p);
	p = page_cache_get(c, "p");
	ok(p && strcmp(p->body, "p") == 0, "kept");
	page_drop(p);
	p = page_of("q", 0);
	page_cache_put(c, "p", p);
	page_drop(p);
	p = page_cache_get(c, "p");
	ok(p && strcmp(p->body, "q") == 0, "replaced");
	page_drop(p);
	for (int i = 0; i < 100; i++)
	{
		snprintf(key, sizeof(key), "k%d", i);
		p = page_of(key, 0);
		page_cache_put(c, key, p);
		page_drop(p);
		page_drop(page_cache_get(c, "p"));	/* used: it stays */
	}
	for (int i = 0; i < 100; i++)
	{
		snprintf(key, sizeof(key), "k%d", i);
		p = page_cache_get(c, key);
		kept += p != NULL;
		page_drop(p);
	}
	ok(kept > 2 && kept < 15, "as many as there is room for");
	p = page_cache_get(c, "k99");
	ok(p != NULL, "the newest among them");
	page_drop(p);
	p = page_cache_get(c, "p");
	ok(p != NULL, "and the one in use");
	page_cache_free(c);
	is_str(p->body, "q", "a page outlives its cache");
	page_drop(p);
	c = page_cache_new(0);
	p = page_of("p", 0);
	page_cache_put(c, "p", p);
	page_drop(p);
	ok(page_cache_get(c, "p") == NULL, "a cache without room keeps nothing");
	page_cache_free(c);
}

int
main(void)
{
	test_accept();
	test_rows();
	test_pages();
	test_cache();
	return done_testing();
}

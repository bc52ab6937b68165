/*
 * Facts in the spool's file; see spool_facts.h. A damaged secret would hash keys
 * to something else, so each value ends with a checksum.
 */
#include "gateway/spool_facts.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define DATABASE_FACT	"database"
#define PRICES_FACT		"prices"
#define CHECKSUM_BYTES	4

/* As it is stored; the checksum follows. */
struct saved_facts
{
	int64_t		retention_us;
	uint32_t	hash_secret_len;
	uint8_t		hash_secret[64];
} __attribute__((packed));

static enum spool_status
put(struct spool_file *f, const char *name, const void *value, size_t len)
{
	uint8_t    *data = malloc(len + CHECKSUM_BYTES);
	uint32_t	checksum = htole32((uint32_t) crc32_z(0, value, len));
	enum spool_status status;

	if (data == NULL)
		return SPOOL_FULL;
	memcpy(data, value, len);
	memcpy(data + len, &checksum, CHECKSUM_BYTES);
	status = spool_file_put_fact(f, name, data, len + CHECKSUM_BYTES);
	free(data);
	return status;
}

/* malloc'ed; NULL when there is none that is whole. */
static void *
get(struct spool_file *f, const char *name, size_t *len)
{
	uint32_t	checksum;
	void	   *value;

	if (spool_file_get_fact(f, name, &value, len) != SPOOL_OK)
		return NULL;
	if (*len >= CHECKSUM_BYTES)
	{
		*len -= CHECKSUM_BYTES;
		memcpy(&checksum, (uint8_t *) value + *len, CHECKSUM_BYTES);
		if (le32toh(checksum) == (uint32_t) crc32_z(0, value, *len))
			return value;
	}
	free(value);
	return NULL;
}

enum spool_status
spool_facts_save(struct spool_file *f, const struct store_facts *facts, const struct catalogue *c)
{
	struct saved_facts saved = {.retention_us = (int64_t) htole64((uint64_t) facts->retention_us),
	.hash_secret_len = htole32((uint32_t) facts->hash_secret_len)};
	enum spool_status status = spool_file_begin(f);

	memcpy(saved.hash_secret, facts->hash_secret, facts->hash_secret_len);
	if (status == SPOOL_OK)
		status = put(f, DATABASE_FACT, &saved, sizeof(saved));
	if (status == SPOOL_OK && c != NULL && c->lines != NULL)
		status = put(f, PRICES_FACT, c->lines, c->lines_len);
	if (status == SPOOL_OK)
		return spool_file_commit(f);
	spool_file_rollback(f);
	return status;
}

void
spool_facts_load(struct spool_file *f, struct store_facts *facts, struct catalogue **c)
{
	size_t		len;
	struct saved_facts *saved = get(f, DATABASE_FACT, &len);
	char	   *lines;

	*facts = (struct store_facts) {0};
	*c = NULL;
	if (saved != NULL && len == sizeof(*saved))
	{
		facts->retention_us = (int64_t) le64toh((uint64_t) saved->retention_us);
		facts->hash_secret_len = le32toh(saved->hash_secret_len);
		facts->known = facts->hash_secret_len > 0 && facts->hash_secret_len <= sizeof(facts->hash_secret);
		if (facts->known)
			memcpy(facts->hash_secret, saved->hash_secret, facts->hash_secret_len);
	}
	free(saved);
	if (!facts->known)
		return;
	lines = get(f, PRICES_FACT, &len);
	if (lines != NULL)
		*c = catalogue_parse(lines, len);
	free(lines);
}

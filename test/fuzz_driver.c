/*
 * Runs a fuzz target over files and over mutations of them, where there is no
 * libFuzzer: main() for the targets of test/fuzz/ built with a compiler that has none.
 *
 *	program -runs=N -seed=N FILE_OR_FOLDER...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX	(1024 * 1024)
#define FILES_MAX	10000

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input
{
	uint8_t    *data;
	size_t		size;
};

static struct input inputs[FILES_MAX];
static size_t ninputs;
static uint64_t state = 1;

static uint64_t
next_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void
read_path(const char *path)
{
	DIR		   *dir = opendir(path);
	FILE	   *f;

	if (dir != NULL)
	{
		struct dirent *e;
		char		name[4096];

		while ((e = readdir(dir)) != NULL)
		{
			if (e->d_name[0] != '.' && snprintf(name, sizeof(name), "%s/%s", path, e->d_name) < (int) sizeof(name))
				read_path(name);
		}
		closedir(dir);
		return;
	}
	f = fopen(path, "rb");
	if (f == NULL || ninputs == FILES_MAX)
	{
		fprintf(stderr, "cannot read %s\n", path);
		exit(2);
	}
	inputs[ninputs].data = malloc(INPUT_MAX);
	if (inputs[ninputs].data == NULL)
		exit(2);
	inputs[ninputs].size = fread(inputs[ninputs].data, 1, INPUT_MAX, f);
	ninputs++;
	fclose(f);
}

/* A copy of exactly size bytes, so that the sanitizer sees one byte too many. */
static void
run(const uint8_t *data, size_t size)
{
	uint8_t    *copy = malloc(size > 0 ? size : 1);

	if (copy == NULL)
		exit(2);
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

int
main(int argc, char **argv)
{
	long		runs = 1000;
	uint8_t    *work = malloc(INPUT_MAX);

	if (work == NULL)
		return 2;
	for (int i = 1; i < argc; i++)
	{
		if (strncmp(argv[i], "-runs=", 6) == 0)
			runs = atol(argv[i] + 6);
		else if (strncmp(argv[i], "-seed=", 6) == 0)
			state = (uint64_t) atoll(argv[i] + 6) * 2 + 1;
		else if (argv[i][0] != '-')
			read_path(argv[i]);
	}
	run(work, 0);
	for (size_t i = 0; i < ninputs; i++)
		run(inputs[i].data, inputs[i].size);
	for (long r = 0; r < runs; r++)
	{
		size_t		size = 1 + next_bits() % 64;

		if (ninputs > 0)
		{
			const struct input *in = &inputs[next_bits() % ninputs];

			size = in->size;
			memcpy(work, in->data, size);
		}
		else
			for (size_t i = 0; i < size; i++)
				work[i] = (uint8_t) next_bits();
		for (int m = (int) (next_bits() % 8); m > 0 && size > 0; m--)
		{
			size_t		at = next_bits() % size;

			switch (next_bits() % 4)
			{
				case 0:
					work[at] = (uint8_t) next_bits();
					break;
				case 1:
					work[at] ^= (uint8_t) (1 << next_bits() % 8);
					break;
				case 2:
					memmove(work + at, work + at + 1, size - at - 1);
					size--;
					break;
				default:
					size = at;
			}
		}
		run(work, size);
	}
	for (size_t i = 0; i < ninputs; i++)
		free(inputs[i].data);
	free(work);
	return 0;
}

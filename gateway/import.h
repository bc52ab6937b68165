/*
 * ccproxy-gateway import FILE: brings rows of an SQLite table or of an NDJSON
 * file into PostgreSQL, through the decoder and the committer that posted events
 * go through. main's thread.
 *
 * Exit status: 0 all rows are in, 1 it stopped on the way (run it again: it goes
 * on), 2 settings or arguments, 3 it came to the end and some rows were refused.
 */
#ifndef GATEWAY_IMPORT_H
#define GATEWAY_IMPORT_H

/* argv[1] is "import". */
int			import_main(int argc, char **argv);

#endif

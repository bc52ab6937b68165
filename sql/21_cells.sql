
-- What was measured over some requests (measures), and many of these by key (cells):
-- what rollups are made of. The transition values of the aggregates are the types
-- themselves, never internal.

CREATE TYPE ccproxy.measures;
CREATE TYPE ccproxy.cells;

CREATE FUNCTION ccproxy.measures_in(cstring) RETURNS ccproxy.measures
    AS 'MODULE_PATHNAME', 'ccproxy_measures_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_out(ccproxy.measures) RETURNS cstring
    AS 'MODULE_PATHNAME', 'ccproxy_measures_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_recv(internal) RETURNS ccproxy.measures
    AS 'MODULE_PATHNAME', 'ccproxy_measures_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_send(ccproxy.measures) RETURNS bytea
    AS 'MODULE_PATHNAME', 'ccproxy_measures_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.measures_in(cstring) IS 'Text input of ccproxy.measures; checks everything, error 22P02.';
COMMENT ON FUNCTION ccproxy.measures_out(ccproxy.measures) IS 'Text output of ccproxy.measures: one JSON object, members that are 0 left out; costs in picodollars.';
COMMENT ON FUNCTION ccproxy.measures_recv(internal) IS 'Binary input of ccproxy.measures; checks everything, error 22P03.';
COMMENT ON FUNCTION ccproxy.measures_send(ccproxy.measures) IS 'Binary output of ccproxy.measures: the packed form, the same on every machine.';

CREATE FUNCTION ccproxy.cells_in(cstring) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_out(ccproxy.cells) RETURNS cstring
    AS 'MODULE_PATHNAME', 'ccproxy_cells_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_recv(internal) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_send(ccproxy.cells) RETURNS bytea
    AS 'MODULE_PATHNAME', 'ccproxy_cells_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.cells_in(cstring) IS 'Text input of ccproxy.cells; checks everything, error 22P02.';
COMMENT ON FUNCTION ccproxy.cells_out(ccproxy.cells) IS 'Text output of ccproxy.cells: one JSON object of measures by key, ascending.';
COMMENT ON FUNCTION ccproxy.cells_recv(internal) IS 'Binary input of ccproxy.cells; checks everything, error 22P03.';
COMMENT ON FUNCTION ccproxy.cells_send(ccproxy.cells) IS 'Binary output of ccproxy.cells: the packed form, the same on every machine.';

CREATE TYPE ccproxy.measures (
    INPUT = ccproxy.measures_in,
    OUTPUT = ccproxy.measures_out,
    RECEIVE = ccproxy.measures_recv,
    SEND = ccproxy.measures_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended
);
COMMENT ON TYPE ccproxy.measures IS
'What was measured over some requests: exact counts and sums of latencies (microseconds), tokens and costs (picodollars), latency distributions as in ccproxy.sketch, and Prometheus'' histogram. Made by ccproxy.measures(), added up by ccproxy.merge(), read by ccproxy.expand(). Without detail it has no histogram and no distribution of the time to first token.';

CREATE TYPE ccproxy.cells (
    INPUT = ccproxy.cells_in,
    OUTPUT = ccproxy.cells_out,
    RECEIVE = ccproxy.cells_recv,
    SEND = ccproxy.cells_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended
);
COMMENT ON TYPE ccproxy.cells IS
'Measures by key, an integer from 0 on: all cells of one bucket of a rollup. Made by ccproxy.cells(), added up by ccproxy.merge() and ccproxy.merge_groups(), read by ccproxy.unpack().';

-- Comparing -----------------------------------------------------------------

CREATE FUNCTION ccproxy.measures_eq(ccproxy.measures, ccproxy.measures) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_measures_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_ne(ccproxy.measures, ccproxy.measures) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_measures_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_eq(ccproxy.cells, ccproxy.cells) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_cells_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_ne(ccproxy.cells, ccproxy.cells) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_cells_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.measures_eq(ccproxy.measures, ccproxy.measures) IS 'Equal in every count, sum and distribution.';
COMMENT ON FUNCTION ccproxy.measures_ne(ccproxy.measures, ccproxy.measures) IS 'Not measures_eq().';
COMMENT ON FUNCTION ccproxy.cells_eq(ccproxy.cells, ccproxy.cells) IS 'Equal keys with equal measures.';
COMMENT ON FUNCTION ccproxy.cells_ne(ccproxy.cells, ccproxy.cells) IS 'Not cells_eq().';

CREATE OPERATOR ccproxy.= (
    LEFTARG = ccproxy.measures, RIGHTARG = ccproxy.measures, FUNCTION = ccproxy.measures_eq,
    COMMUTATOR = OPERATOR(ccproxy.=), NEGATOR = OPERATOR(ccproxy.<>), RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR ccproxy.<> (
    LEFTARG = ccproxy.measures, RIGHTARG = ccproxy.measures, FUNCTION = ccproxy.measures_ne,
    COMMUTATOR = OPERATOR(ccproxy.<>), NEGATOR = OPERATOR(ccproxy.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR ccproxy.= (
    LEFTARG = ccproxy.cells, RIGHTARG = ccproxy.cells, FUNCTION = ccproxy.cells_eq,
    COMMUTATOR = OPERATOR(ccproxy.=), NEGATOR = OPERATOR(ccproxy.<>), RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR ccproxy.<> (
    LEFTARG = ccproxy.cells, RIGHTARG = ccproxy.cells, FUNCTION = ccproxy.cells_ne,
    COMMUTATOR = OPERATOR(ccproxy.<>), NEGATOR = OPERATOR(ccproxy.=), RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR ccproxy.= (ccproxy.measures, ccproxy.measures) IS 'equal in every count, sum and distribution';
COMMENT ON OPERATOR ccproxy.<> (ccproxy.measures, ccproxy.measures) IS 'not equal in every count, sum and distribution';
COMMENT ON OPERATOR ccproxy.= (ccproxy.cells, ccproxy.cells) IS 'equal keys with equal measures';
COMMENT ON OPERATOR ccproxy.<> (ccproxy.cells, ccproxy.cells) IS 'not equal in keys or measures';

-- Reading -------------------------------------------------------------------

CREATE TYPE ccproxy.measures_record AS (
    requests              bigint,
    successful            bigint,
    failed                bigint,
    in_flight             bigint,
    priced                bigint,
    unpriced              bigint,
    n_response_time       bigint,
    sum_response_time_us  numeric,
    n_ttft                bigint,
    sum_ttft_us           numeric,
    input_tokens          numeric,
    cache_read_tokens     numeric,
    cache_write_tokens    numeric,
    cache_write_1h_tokens numeric,
    output_tokens         numeric,
    reasoning_tokens      numeric,
    input_cost            numeric,
    cache_read_cost       numeric,
    cache_write_cost      numeric,
    output_cost           numeric,
    tool_cost             numeric,
    total_cost            numeric,
    reported_requests     bigint,
    reported_cost         numeric,
    response_time_buckets bigint[],
    response_time         ccproxy.sketch,
    ttft                  ccproxy.sketch
);
COMMENT ON TYPE ccproxy.measures_record IS
'ccproxy.measures in columns. Counts of requests: successful + failed + in_flight = requests; priced (with a price), unpriced (with tokens but without a price), n_... (that have the value), reported_requests (with a reported cost). Sums are 0 where there is nothing to add; costs are USD. response_time_buckets: requests with a response time <= 0.01 0.05 0.1 0.5 1 2.5 5 10 30 60 120 300 600 s; response_time and ttft: the distributions, in milliseconds. NULL: distributions of no values, and without detail response_time_buckets and ttft.';

CREATE FUNCTION ccproxy.expand(measures ccproxy.measures) RETURNS ccproxy.measures_record
    AS 'MODULE_PATHNAME', 'ccproxy_measures_expand' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.expand(ccproxy.measures) IS
'The measures in columns. Call it in FROM (... CROSS JOIN LATERAL ccproxy.expand(m)): (ccproxy.expand(m)).* would call it for each column. Error 22003 when total_cost is beyond 2^126 picodollars.';

CREATE FUNCTION ccproxy.expand(measures ccproxy.measures, distributions boolean) RETURNS ccproxy.measures_record
    AS 'MODULE_PATHNAME', 'ccproxy_measures_expand' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.expand(ccproxy.measures, boolean) IS
'expand(measures); with false distributions are not read, so that it is several times as fast: response_time_buckets, response_time and ttft are NULL.';

CREATE FUNCTION ccproxy.cell_count(cells ccproxy.cells) RETURNS bigint
    AS 'MODULE_PATHNAME', 'ccproxy_cell_count' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.cell_count(ccproxy.cells) IS 'How many cells there are; reads the first bytes only.';

CREATE FUNCTION ccproxy.unpack(cells ccproxy.cells, keys integer[] DEFAULT NULL)
RETURNS TABLE (key integer, m ccproxy.measures)
    AS 'MODULE_PATHNAME', 'ccproxy_cells_unpack' LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION ccproxy.unpack(ccproxy.cells, integer[]) IS
'The cells by ascending key, or those of the given keys only (NULLs and keys that are not there give no row; an empty array gives none). NULL cells give no row.';

-- Aggregates ----------------------------------------------------------------

CREATE FUNCTION ccproxy.measures_add(
    ccproxy.measures,
    response_time_us bigint, ttft_us bigint,
    input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,
    cache_write_1h_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
    input_cost bigint, cache_read_cost bigint, cache_write_cost bigint, output_cost bigint, tool_cost bigint,
    reported_cost bigint, price_id integer, status_code smallint, error_type text, error_message text,
    detail boolean) RETURNS ccproxy.measures
    AS 'MODULE_PATHNAME', 'ccproxy_measures_add' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_combine(ccproxy.measures, ccproxy.measures) RETURNS ccproxy.measures
    AS 'MODULE_PATHNAME', 'ccproxy_measures_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION ccproxy.measures_final(ccproxy.measures) RETURNS ccproxy.measures
    AS 'MODULE_PATHNAME', 'ccproxy_measures_final' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.measures_add(ccproxy.measures, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, integer, smallint, text, text, boolean) IS
'The transition function of ccproxy.measures(); error 0A000 elsewhere.';
COMMENT ON FUNCTION ccproxy.measures_combine(ccproxy.measures, ccproxy.measures) IS
'The measures of the requests of both, where NULL is the measures of none. Without detail if either is.';
COMMENT ON FUNCTION ccproxy.measures_final(ccproxy.measures) IS 'The packed form of an aggregate''s state.';

CREATE AGGREGATE ccproxy.measures(
    response_time_us bigint, ttft_us bigint,
    input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,
    cache_write_1h_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
    input_cost bigint, cache_read_cost bigint, cache_write_cost bigint, output_cost bigint, tool_cost bigint,
    reported_cost bigint, price_id integer, status_code smallint, error_type text, error_message text,
    detail boolean
) (
    SFUNC = ccproxy.measures_add, STYPE = ccproxy.measures, SSPACE = 640, FINALFUNC = ccproxy.measures_final,
    COMBINEFUNC = ccproxy.measures_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.measures(bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, integer, smallint, text, text, boolean) IS
'The measures of requests, from the columns of ccproxy.request_log in their order, and whether to keep detail (histogram and distribution of the time to first token; NULL is true). A request failed if its status is >= 400 or it has an error; it is in flight if it has neither status nor error. Costs count for requests with a price_id. NULL for no rows. Errors: 22023 if detail changes within a group, 22003 out of range.';

CREATE AGGREGATE ccproxy.merge(measures ccproxy.measures) (
    SFUNC = ccproxy.measures_combine, STYPE = ccproxy.measures, SSPACE = 1024, FINALFUNC = ccproxy.measures_final,
    COMBINEFUNC = ccproxy.measures_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.merge(ccproxy.measures) IS
'The measures of all requests of all measures that are not NULL, without detail if any is; NULL if there are none. Error 22003 out of range.';

CREATE FUNCTION ccproxy.cells_add(ccproxy.cells, key integer, m ccproxy.measures) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_add' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_combine(ccproxy.cells, ccproxy.cells) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_combine_groups(ccproxy.cells, ccproxy.cells, key_to_group integer[]) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_combine_groups' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION ccproxy.cells_final(ccproxy.cells) RETURNS ccproxy.cells
    AS 'MODULE_PATHNAME', 'ccproxy_cells_final' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.cells_add(ccproxy.cells, integer, ccproxy.measures) IS
'The cells with these measures added to the cell of this key; NULL cells are none, NULL measures change nothing. Errors: 22004 for a NULL key, 22023 for a negative one.';
COMMENT ON FUNCTION ccproxy.cells_combine(ccproxy.cells, ccproxy.cells) IS
'The cells of both, those of equal keys added up, where NULL is no cells.';
COMMENT ON FUNCTION ccproxy.cells_combine_groups(ccproxy.cells, ccproxy.cells, integer[]) IS
'The first cells with the second added, whose keys are exchanged for their groups: the transition function of merge_groups().';
COMMENT ON FUNCTION ccproxy.cells_final(ccproxy.cells) IS 'The packed form of an aggregate''s state.';

CREATE AGGREGATE ccproxy.cells(key integer, m ccproxy.measures) (
    SFUNC = ccproxy.cells_add, STYPE = ccproxy.cells, SSPACE = 2048, FINALFUNC = ccproxy.cells_final,
    COMBINEFUNC = ccproxy.cells_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.cells(integer, ccproxy.measures) IS
'The measures by key; those of a key that comes more than once are added up. NULL measures are left out, NULL if nothing is left. Errors: 22004 for a NULL key, 22023 for a negative one.';

CREATE AGGREGATE ccproxy.merge(cells ccproxy.cells) (
    SFUNC = ccproxy.cells_combine, STYPE = ccproxy.cells, SSPACE = 16384, FINALFUNC = ccproxy.cells_final,
    COMBINEFUNC = ccproxy.cells_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.merge(ccproxy.cells) IS
'The cells of all, those of equal keys added up; NULL if there are none.';

CREATE AGGREGATE ccproxy.merge_groups(cells ccproxy.cells, key_to_group integer[]) (
    SFUNC = ccproxy.cells_combine_groups, STYPE = ccproxy.cells, SSPACE = 16384, FINALFUNC = ccproxy.cells_final,
    COMBINEFUNC = ccproxy.cells_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.merge_groups(ccproxy.cells, integer[]) IS
'The cells of all, added up by group: key_to_group[key] is the group of a key, a key without one (beyond the array, NULL or 0) is left out; the result has groups for keys. NULL if there are no cells at all, no cells ({}) if all were left out. Errors: 22004 if key_to_group is NULL, 22023 for a negative group, 2202E for an array of more than one dimension.';

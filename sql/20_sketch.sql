
-- The quantile sketch: type, functions that read it, aggregates that build it.

CREATE TYPE ccproxy.sketch;

CREATE FUNCTION ccproxy.sketch_in(cstring) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_out(ccproxy.sketch) RETURNS cstring
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_recv(internal) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_send(ccproxy.sketch) RETURNS bytea
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_in(cstring) IS 'Text input of ccproxy.sketch; checks everything, error 22P02.';
COMMENT ON FUNCTION ccproxy.sketch_out(ccproxy.sketch) IS 'Text output of ccproxy.sketch: one JSON object.';
COMMENT ON FUNCTION ccproxy.sketch_recv(internal) IS 'Binary input of ccproxy.sketch; checks everything, error 22P03.';
COMMENT ON FUNCTION ccproxy.sketch_send(ccproxy.sketch) IS 'Binary output of ccproxy.sketch: the packed form, the same on every machine.';

CREATE TYPE ccproxy.sketch (
    INPUT = ccproxy.sketch_in,
    OUTPUT = ccproxy.sketch_out,
    RECEIVE = ccproxy.sketch_recv,
    SEND = ccproxy.sketch_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended
);
COMMENT ON TYPE ccproxy.sketch IS
'The distribution of a set of numbers: exact count, min and max, sum as float8, and an exponential histogram of base 2^(1/64) whose quantiles are within 0.55 % of the true value. Sketches merge exactly, in any order.';

-- Reading -----------------------------------------------------------------

CREATE FUNCTION ccproxy.quantile(sketch ccproxy.sketch, fraction double precision) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_quantile' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.quantile(ccproxy.sketch, double precision) IS
'The value of rank ceil(fraction * count), as percentile_disc has it, within 0.55 % and within [min, max]; exact for the first and last rank. NULL for an empty sketch; error 22003 unless 0 <= fraction <= 1.';

CREATE FUNCTION ccproxy.quantiles(sketch ccproxy.sketch, fractions double precision[]) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_quantiles' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.quantiles(ccproxy.sketch, double precision[]) IS
'quantile() for each fraction, in an array of the same shape; NULL for a NULL fraction and for an empty sketch.';

CREATE FUNCTION ccproxy.cdf(sketch ccproxy.sketch, "limit" double precision) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_cdf' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.cdf(ccproxy.sketch, double precision) IS
'The fraction of values that are at most the limit, between 0 and 1; exact at 0, at powers of two, below min and from max on, else off by at most what the limit''s own bucket (1.1 % wide) holds. NULL for an empty sketch; error 22003 for NaN.';

CREATE FUNCTION ccproxy.count(sketch ccproxy.sketch) RETURNS bigint
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_count' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.count(ccproxy.sketch) IS 'How many values the sketch holds, exactly.';

CREATE FUNCTION ccproxy.sum(sketch ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_sum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sum(ccproxy.sketch) IS
'The sum of the values, as near as a float8 can hold it; Infinity when it is beyond float8. NULL for an empty sketch.';

CREATE FUNCTION ccproxy.min(sketch ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_min' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.min(ccproxy.sketch) IS 'The least value, exactly. NULL for an empty sketch.';

CREATE FUNCTION ccproxy.max(sketch ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_max' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.max(ccproxy.sketch) IS 'The greatest value, exactly. NULL for an empty sketch.';

CREATE FUNCTION ccproxy.mean(sketch ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_mean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.mean(ccproxy.sketch) IS 'sum / count, never outside [min, max]. NULL for an empty sketch.';

CREATE FUNCTION ccproxy.buckets(sketch ccproxy.sketch,
    OUT lower double precision, OUT upper double precision, OUT count bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_buckets' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 200;
COMMENT ON FUNCTION ccproxy.buckets(ccproxy.sketch) IS
'The occupied buckets in ascending order, for plots: a positive one holds the values in (lower, upper], a negative one those in [lower, upper), zeros are the bucket (0, 0).';

CREATE FUNCTION ccproxy.otel_histogram(sketch ccproxy.sketch,
    OUT scale integer, OUT zero_count bigint,
    OUT "offset" integer, OUT counts bigint[],
    OUT negative_offset integer, OUT negative_counts bigint[],
    OUT count bigint, OUT sum double precision, OUT min double precision, OUT max double precision)
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_otel' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.otel_histogram(ccproxy.sketch) IS
'The fields of an OpenTelemetry ExponentialHistogramDataPoint of scale 6: counts[n] is the bucket of index offset + n - 1; empty arrays and offset 0 where there are no values of that sign.';

-- Merging and comparing -----------------------------------------------------

CREATE FUNCTION ccproxy.sketch_union(ccproxy.sketch, ccproxy.sketch) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_union' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_union(ccproxy.sketch, ccproxy.sketch) IS
'The sketch of the values of both: the operator +. Error 22003 beyond 2^63 - 1 values.';

CREATE OPERATOR ccproxy.+ (
    LEFTARG = ccproxy.sketch, RIGHTARG = ccproxy.sketch,
    FUNCTION = ccproxy.sketch_union, COMMUTATOR = OPERATOR(ccproxy.+)
);
COMMENT ON OPERATOR ccproxy.+ (ccproxy.sketch, ccproxy.sketch) IS 'the sketch of the values of both';

CREATE FUNCTION ccproxy.sketch_eq(ccproxy.sketch, ccproxy.sketch) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_ne(ccproxy.sketch, ccproxy.sketch) RETURNS boolean
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_hash(ccproxy.sketch) RETURNS integer
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_hash_extended(ccproxy.sketch, bigint) RETURNS bigint
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_eq(ccproxy.sketch, ccproxy.sketch) IS
'Equal count, min, max and buckets; the sum, which depends on the order of adding in its last digits, does not matter.';
COMMENT ON FUNCTION ccproxy.sketch_ne(ccproxy.sketch, ccproxy.sketch) IS 'Not sketch_eq().';
COMMENT ON FUNCTION ccproxy.sketch_hash(ccproxy.sketch) IS 'A hash that goes with sketch_eq().';
COMMENT ON FUNCTION ccproxy.sketch_hash_extended(ccproxy.sketch, bigint) IS 'A seeded hash that goes with sketch_eq().';

CREATE OPERATOR ccproxy.= (
    LEFTARG = ccproxy.sketch, RIGHTARG = ccproxy.sketch, FUNCTION = ccproxy.sketch_eq,
    COMMUTATOR = OPERATOR(ccproxy.=), NEGATOR = OPERATOR(ccproxy.<>),
    RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
CREATE OPERATOR ccproxy.<> (
    LEFTARG = ccproxy.sketch, RIGHTARG = ccproxy.sketch, FUNCTION = ccproxy.sketch_ne,
    COMMUTATOR = OPERATOR(ccproxy.<>), NEGATOR = OPERATOR(ccproxy.=),
    RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR ccproxy.= (ccproxy.sketch, ccproxy.sketch) IS 'equal count, min, max and buckets';
COMMENT ON OPERATOR ccproxy.<> (ccproxy.sketch, ccproxy.sketch) IS 'not equal in count, min, max or buckets';

-- Only hashing: sketches have no order.
CREATE OPERATOR CLASS ccproxy.sketch_ops DEFAULT FOR TYPE ccproxy.sketch USING hash AS
    OPERATOR 1 ccproxy.= (ccproxy.sketch, ccproxy.sketch),
    FUNCTION 1 ccproxy.sketch_hash(ccproxy.sketch),
    FUNCTION 2 ccproxy.sketch_hash_extended(ccproxy.sketch, bigint);
COMMENT ON OPERATOR CLASS ccproxy.sketch_ops USING hash IS 'equality of sketches, for DISTINCT, GROUP BY and hash joins';

-- Aggregates ----------------------------------------------------------------
-- The transition value is a sketch, never internal: it travels between parallel
-- workers, and Citus pushes these aggregates down to its nodes. All aggregates over
-- float8 have the same transition, so that p50(x), p95(x), sketch(x) of one query
-- share one state.

CREATE FUNCTION ccproxy.sketch_add(ccproxy.sketch, double precision) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_add' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_add(ccproxy.sketch, double precision) IS
'The sketch with one more value; a NULL sketch is empty, a NULL value is not added. Error 22003 for NaN and infinities.';

CREATE FUNCTION ccproxy.sketch_combine(ccproxy.sketch, ccproxy.sketch) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_combine(ccproxy.sketch, ccproxy.sketch) IS
'The sketch of the values of both, where NULL is the sketch of nothing.';

CREATE FUNCTION ccproxy.sketch_final(ccproxy.sketch) RETURNS ccproxy.sketch
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_final' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_p50(ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_p50' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_p90(ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_p90' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_p95(ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_p95' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION ccproxy.sketch_p99(ccproxy.sketch) RETURNS double precision
    AS 'MODULE_PATHNAME', 'ccproxy_sketch_p99' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ccproxy.sketch_final(ccproxy.sketch) IS 'The packed form of an aggregate''s state.';
COMMENT ON FUNCTION ccproxy.sketch_p50(ccproxy.sketch) IS 'quantile(sketch, 0.50), the final function of p50(double precision).';
COMMENT ON FUNCTION ccproxy.sketch_p90(ccproxy.sketch) IS 'quantile(sketch, 0.90), the final function of p90(double precision).';
COMMENT ON FUNCTION ccproxy.sketch_p95(ccproxy.sketch) IS 'quantile(sketch, 0.95), the final function of p95(double precision).';
COMMENT ON FUNCTION ccproxy.sketch_p99(ccproxy.sketch) IS 'quantile(sketch, 0.99), the final function of p99(double precision).';

CREATE AGGREGATE ccproxy.sketch(value double precision) (
    SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, SSPACE = 512, FINALFUNC = ccproxy.sketch_final,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
CREATE AGGREGATE ccproxy.merge(sketch ccproxy.sketch) (
    SFUNC = ccproxy.sketch_combine, STYPE = ccproxy.sketch, SSPACE = 2048, FINALFUNC = ccproxy.sketch_final,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
CREATE AGGREGATE ccproxy.p50(value double precision) (
    SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, SSPACE = 512, FINALFUNC = ccproxy.sketch_p50,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
CREATE AGGREGATE ccproxy.p90(value double precision) (
    SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, SSPACE = 512, FINALFUNC = ccproxy.sketch_p90,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
CREATE AGGREGATE ccproxy.p95(value double precision) (
    SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, SSPACE = 512, FINALFUNC = ccproxy.sketch_p95,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
CREATE AGGREGATE ccproxy.p99(value double precision) (
    SFUNC = ccproxy.sketch_add, STYPE = ccproxy.sketch, SSPACE = 512, FINALFUNC = ccproxy.sketch_p99,
    COMBINEFUNC = ccproxy.sketch_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE ccproxy.sketch(double precision) IS
'The sketch of all values that are not NULL; NULL if there are none. Error 22003 for NaN and infinities.';
COMMENT ON AGGREGATE ccproxy.merge(ccproxy.sketch) IS
'The sketch of all values of all sketches that are not NULL; NULL if there are none.';
COMMENT ON AGGREGATE ccproxy.p50(double precision) IS 'The median within 0.55 %: quantile(sketch(value), 0.50).';
COMMENT ON AGGREGATE ccproxy.p90(double precision) IS 'The 90th percentile within 0.55 %: quantile(sketch(value), 0.90).';
COMMENT ON AGGREGATE ccproxy.p95(double precision) IS 'The 95th percentile within 0.55 %: quantile(sketch(value), 0.95).';
COMMENT ON AGGREGATE ccproxy.p99(double precision) IS 'The 99th percentile within 0.55 %: quantile(sketch(value), 0.99).';

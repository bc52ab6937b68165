-- What caching saved: by the prices of the day, over the models that have one.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/metrics_table.psql'
\i :include
SET timezone = 'UTC';

SELECT ccproxy.ensure_partitions(now() - interval '5 days', now()) > 0 AS made;
SELECT date_trunc('day', now()) - interval '3 days' AS day \gset
-- dearer by half from the second day on
SELECT ccproxy.set_price('cached', input => 2, output => 8, cache_read => 0.2, cache_write => 2.5, effective_from => :'day'::timestamptz - interval '1 day') > 0 AS first,
       ccproxy.set_price('cached', input => 3, output => 12, cache_read => 0.3, cache_write => 3.75, effective_from => :'day'::timestamptz + interval '1 day') > 0 AS second;
INSERT INTO ccproxy.requests (request_id, ts, model, user_id, status_code, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens)
SELECT 'a' || n, :'day'::timestamptz + n * interval '1 hour', 'cached', 'user-' || n % 2, 200, 1000, 1000000, 100000, 500 FROM generate_series(0, 47) AS n;
INSERT INTO ccproxy.requests (request_id, ts, model, user_id, status_code, cache_read_tokens)
VALUES ('unpriced', :'day'::timestamptz, 'nobody knows', 'user-1', 200, 5000000);
INSERT INTO ccproxy.requests (request_id, ts, model, user_id, status_code, input_tokens)
VALUES ('plain', :'day'::timestamptz, 'cached', 'user-3', 200, 5000000);

-- a day: 24 * 1.1 M tokens at 2 USD = 52.8, and 24 * (0.2 + 0.25) = 10.8 as they were; the next half as much again
SELECT * FROM ccproxy.cache_savings(:'day', :'day'::timestamptz + interval '1 day');
SELECT * FROM ccproxy.cache_savings(:'day'::timestamptz + interval '1 day', :'day'::timestamptz + interval '2 days');
SELECT * FROM ccproxy.cache_savings(:'day', now());
SELECT * FROM ccproxy.cache_savings(:'day', now(), '{"user": "user-1"}');
-- nothing cached, nothing priced, nothing at all
SELECT * FROM ccproxy.cache_savings(:'day', now(), '{"user": "user-3"}');
SELECT * FROM ccproxy.cache_savings(:'day', now(), '{"model": "nobody knows"}');
SELECT * FROM ccproxy.cache_savings(:'day', :'day');
-- written and never read again: a loss
SELECT ccproxy.set_price('loss', input => 1, output => 1, cache_read => 0.1, cache_write => 1.25, effective_from => :'day'::timestamptz) > 0 AS loss;
INSERT INTO ccproxy.requests (request_id, ts, model, status_code, cache_write_tokens) VALUES ('l', :'day'::timestamptz, 'loss', 200, 1000000);
SELECT savings FROM ccproxy.cache_savings(:'day', now(), '{"model": "loss"}');
-- the same from the rollups
CALL ccproxy.maintain();
SELECT * FROM ccproxy.cache_savings(:'day', now(), '{"user": "user-1"}');

-- Rows :first to :last of a proxy, i, each at the time :at: 12 models, 500 users
-- (skewed), 3 % errors, half of them streamed.
INSERT INTO ccproxy.request_log (ts, response_time_us, ttft_us, input_tokens, cache_read_tokens, output_tokens, input_cost,
        output_cost, price_id, status_code, streaming, request_id, user_id, method,
        path, endpoint_type, provider, user_agent, api_key_hash, model, error_type)
SELECT t, (exp(6.5 + 0.8 * z) * 1000)::bigint, CASE WHEN i % 2 = 0 THEN (exp(5.5 + 0.5 * z) * 1000)::bigint END,
       (random() * 2000)::int, CASE WHEN i % 4 = 0 THEN (random() * 5000)::int END, (random() * 800)::int, (random() * 1e10)::bigint,
       (random() * 1e10)::bigint, 1 + m, CASE WHEN e < 0.97 THEN 200 WHEN e < 0.985 THEN 429 ELSE 500 END, i % 2 = 0,
       md5(i::text), 'user-' || u, 'POST', '/v1/messages', CASE WHEN m % 2 = 0 THEN 'anthropic' ELSE 'openai' END,
       CASE WHEN m % 2 = 0 THEN 'anthropic' ELSE 'openai' END, 'sdk/1.0', decode(md5('k' || u), 'hex'), 'model-' || m,
       CASE WHEN e >= 0.985 THEN 'api_error' END
  FROM (SELECT i, :at AS t, (random() + random() + random() + random() - 2) * 1.7 AS z, (random() * random() * 500)::int AS u,
               (random() * 12)::int % 12 AS m, random() AS e FROM generate_series(:first::bigint, :last) AS i) AS g;

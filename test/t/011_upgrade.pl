# ALTER EXTENSION ... UPDATE: from every released version (sql/upgrade), and from
# this one to a made-up next one whose script sql/upgrade/draft writes; with data
# in it, while the background worker is at it, as an owner who is no superuser.
# What is there afterwards must be what a fresh install makes, to the last
# privilege and comment; dumps of the old version restore into the new one.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use CCProxyWorker;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs a staged install' unless $ENV{CCPROXY_STAGE};

my $share = `"$ENV{PG_CONFIG}" --sharedir` || `pg_config --sharedir`;
chomp $share;
my $sources = "$FindBin::Bin/../../sql/upgrade";
my $stage = PostgreSQL::Test::Utils::tempdir();
system('cp', '-r', "$ENV{CCPROXY_STAGE}/.", $stage) == 0 or die 'cannot copy the stage';
my $folder = "$stage$share/extension";
my $control = slurp_file("$folder/ccproxy_metrics.control");
my ($current) = $control =~ /^default_version = '(.*)'$/m;
my $next = "$current-next";
my $sql = slurp_file("$folder/ccproxy_metrics--$current.sql");

sub write_file
{
	my ($name, $text) = @_;
	open(my $out, '>', "$folder/$name") or die "$name: $!";
	print $out $text;
	close $out;
}

sub default_version
{
	my ($version) = @_;
	write_file('ccproxy_metrics.control', $control =~ s/^default_version = .*$/default_version = '$version'/mr);
}

# The next version: a function in other words, one with another result, one with
# other arguments, a new one for everybody and a new one of the owner's, one that
# is gone, a new type, another column of a table and of a view, another comment.
my $changed = $sql;

sub change
{
	my ($what, $from, $to) = @_;
	is($changed =~ s/\Q$from\E/$to/g, 1, "next version: $what");
}
change('another body', q{'retention must be at least one day, got %', least_kept}, q{'retention must be a day at least, got %', least_kept});
change('another argument\'s name', "CREATE FUNCTION ccproxy._narrow(spans tstzmultirange, grain \"char\") RETURNS tstzmultirange", "CREATE FUNCTION ccproxy._narrow(spans tstzmultirange, which \"char\") RETURNS tstzmultirange");
$changed =~ s/(CREATE FUNCTION ccproxy\._narrow.*?\$\$;)/$1 =~ s{ccproxy\._bucket\(grain,}{ccproxy._bucket(which,}gr =~ s{_length\(grain\)}{_length(which)}gr/se;
change('another result', "CREATE FUNCTION ccproxy._oldest_event() RETURNS timestamptz\n", "CREATE FUNCTION ccproxy._oldest_event(OUT oldest timestamptz, OUT next text)\n");
$changed =~ s/(CREATE FUNCTION ccproxy\._oldest_event.*?SELECT greatest\(now\(\) - c\.retention, s\.raw_from\))/$1, 'next'/s;
$changed =~ s/ccproxy\._oldest_event\(\), now\(\)/(SELECT o.oldest FROM ccproxy._oldest_event() AS o), now()/g;
is($changed =~ s/CREATE FUNCTION ccproxy\.explain_stats\(.*?\n\$\$;\nCOMMENT ON FUNCTION ccproxy\.explain_stats.*?';\n//s, 1, 'next version: a function less');
change('a function of the owner\'s', "        'ccproxy.ingest(jsonb)',\n", "        'ccproxy.ingest(jsonb)',\n        'ccproxy._next_secret()',\n");
change('a column of a table', "    COMMENT ON TABLE ccproxy.configuration IS", "    ALTER TABLE ccproxy.configuration ADD COLUMN IF NOT EXISTS next_setting integer NOT NULL DEFAULT 5;\n    COMMENT ON TABLE ccproxy.configuration IS");
change('a column of a view', "AS jobs\n      FROM ccproxy.rollup_state s\n", "AS jobs,\n           (SELECT c.next_setting FROM ccproxy.configuration c) AS next_setting\n      FROM ccproxy.rollup_state s\n");
change('another comment', "'Picodollars (1e-12 USD) as exact USD; NULL for NULL.'", "'Picodollars as exact USD; it''s NULL for NULL.'");
$changed =~ s/^(-- Who may do what)/CREATE TYPE ccproxy.next_kind AS ENUM ('a', 'b');
COMMENT ON TYPE ccproxy.next_kind IS 'What comes next; and more.';
CREATE FUNCTION ccproxy.next_version(kind ccproxy.next_kind DEFAULT 'a') RETURNS text LANGUAGE sql IMMUTABLE RETURN 'next';
COMMENT ON FUNCTION ccproxy.next_version(ccproxy.next_kind) IS 'next';
CREATE FUNCTION ccproxy._next_secret() RETURNS bytea LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS \$f\$ SELECT c.hash_secret FROM ccproxy.configuration c; \$f\$;
$1/m;

write_file("ccproxy_metrics--$next.sql", $changed);
{
	my $script = '';
	IPC::Run::run([ $^X, "$sources/draft", "$folder/ccproxy_metrics--$current.sql", "$folder/ccproxy_metrics--$next.sql" ], '>', \$script) or die 'no draft';
	write_file("ccproxy_metrics--$current--$next.sql", $script);
	unlike($script, qr/to be written by hand/, 'nothing of it is to be written by hand');
	cmp_ok(length($script), '<', length($sql) / 4, 'what stays is not said again');
	my $broken = $sql =~ s/CREATE AGGREGATE ccproxy\.p50\(value double precision\) \(/CREATE AGGREGATE ccproxy.p50(value double precision) ( -- other\n/r =~ s/CREATE DOMAIN ccproxy\.price_id AS integer;//r;
	write_file('broken.sql', $broken);
	IPC::Run::run([ $^X, "$sources/draft", "$folder/ccproxy_metrics--$current.sql", "$folder/broken.sql" ], '>', \$script) or die 'no draft';
	is(join(', ', sort $script =~ /by hand: ([^']*)'/g), 'AGGREGATE ccproxy.p50(value double precision), DOMAIN ccproxy.price_id is gone',
		'what cannot be replaced is left to people');
}

# released versions, as they were
my @released = map { m{--([^/]*)\.sql$} } grep { !m{--.*--} } glob "$sources/ccproxy_metrics--*.sql";
system('cp', "$sources/ccproxy_metrics--$_.sql", $folder) for @released;

# ------------------------------------------------------------------ compared

my $catalogue = q{
	WITH acl AS (SELECT c.oid, (SELECT string_agg(x::text, ' ' ORDER BY x::text COLLATE "C") FROM unnest(c.acl) AS x) AS acl
	               FROM (SELECT oid, proacl AS acl FROM pg_proc UNION ALL SELECT oid, relacl FROM pg_class UNION ALL SELECT oid, typacl FROM pg_type) AS c)
	SELECT * FROM (
		SELECT 'function ' || p.oid::regprocedure AS what, concat_ws(' | ', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, p.proowner::regrole, a.acl, obj_description(p.oid, 'pg_proc')) AS how
		  FROM pg_proc p JOIN acl a USING (oid) WHERE p.pronamespace = 'ccproxy'::regnamespace
		UNION ALL
		SELECT 'member ' || i.type || ' ' || i.identity, d.deptype::text
		  FROM pg_depend d CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS i
		 WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'ccproxy_metrics') AND d.deptype = 'e'
		UNION ALL
		SELECT 'relation ' || c.relname, concat_ws(' | ', c.relkind, c.relpersistence, c.relowner::regrole, a.acl, c.reloptions::text, obj_description(c.oid, 'pg_class'),
		           CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) WHEN 'i' THEN pg_get_indexdef(c.oid) WHEN 'I' THEN pg_get_indexdef(c.oid) END)
		  FROM pg_class c JOIN acl a USING (oid) WHERE c.relnamespace = 'ccproxy'::regnamespace AND NOT c.relispartition AND c.relname !~ '^request_log_p[0-9]'
		UNION ALL
		SELECT 'column ' || c.relname || '.' || a.attname, concat_ws(' | ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attacl::text, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum), a.attstorage, a.attcompression)
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		 WHERE c.relnamespace = 'ccproxy'::regnamespace AND NOT c.relispartition AND c.relname !~ '^request_log_p[0-9]'
		UNION ALL
		SELECT 'constraint ' || coalesce(conrelid::regclass::text, contypid::regtype::text) || '.' || conname, pg_get_constraintdef(o.oid)
		  FROM pg_constraint o LEFT JOIN pg_class c ON c.oid = conrelid WHERE o.connamespace = 'ccproxy'::regnamespace AND NOT coalesce(c.relispartition, false)
		UNION ALL
		SELECT 'trigger ' || tgrelid::regclass || '.' || tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
		 WHERE NOT tgisinternal AND c.relnamespace = 'ccproxy'::regnamespace
		UNION ALL
		SELECT 'type ' || t.typname, concat_ws(' | ', t.typtype, t.typowner::regrole, a.acl, obj_description(t.oid, 'pg_type'), (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
		  FROM pg_type t JOIN acl a USING (oid) WHERE t.typnamespace = 'ccproxy'::regnamespace AND t.typname !~ '^_?request_log_p[0-9]'
		UNION ALL
		SELECT 'operator ' || o.oid::regoperator, concat_ws(' | ', o.oprcode, obj_description(o.oid, 'pg_operator')) FROM pg_operator o WHERE o.oprnamespace = 'ccproxy'::regnamespace
	) AS x ORDER BY what COLLATE "C"};

sub catalogue
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, $catalogue, extra_params => [ '-R', "\n\n" ]);
}

# The first objects in which two databases differ.
sub same_catalogue
{
	my ($node, $db, $like, $what) = @_;
	my ($got, $wanted) = map { catalogue($node, $_) } $db, $like;
	ok($got eq $wanted && length($got) > 100_000, $what) and return;
	my %wanted = map { $_ => 1 } split /\n\n/, $wanted;
	my %got = map { $_ => 1 } split /\n\n/, $got;
	diag(substr(join("\n", (map { "got: $_" } grep { !$wanted{$_} } sort keys %got), map { "wanted: $_" } grep { !$got{$_} } sort keys %wanted), 0, 4000));
}

my @questions = (
	q{SELECT total_requests, failed_requests, p95_response_time_ms, input_tokens, total_cost, model_usage FROM ccproxy.stats(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()) + interval '1 day')},
	q{SELECT group_key, group_key2, total_requests, total_cost FROM ccproxy.stats(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()) + interval '1 day', 'day,user')},
	q{SELECT count(*), sum(total_cost), max(request_id) FROM ccproxy.requests},
	q{SELECT family, sum(count) FROM ccproxy.prometheus GROUP BY 1 ORDER BY 1});

local $ENV{CCPROXY_STAGE} = $stage;
my $node = CCProxyWorker::cluster('upgrade');
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE ann LOGIN; CREATE ROLE reader; CREATE ROLE gateway');

sub create
{
	my ($db, $version) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER ann");
	CCProxyWorker::as($node, 'ann', $db, "CREATE EXTENSION ccproxy_metrics VERSION '$version'; SELECT ccproxy.create_metrics_table(); SELECT ccproxy.grant_read('reader'), ccproxy.grant_gateway('gateway')");
}

sub fill
{
	my ($db, $prefix) = @_;
	CCProxyWorker::as($node, 'ann', $db, qq{SELECT accepted FROM ccproxy.ingest((SELECT jsonb_agg(jsonb_build_object('request_id', '$prefix' || i, 'timestamp', now() - make_interval(hours => i % 70), 'model', 'gpt-4',
		'user_id', 'u' || i % 3, 'status_code', 200 + 300 * (i % 7 / 6), 'response_time_ms', i, 'input_tokens', 10 * i, 'output_tokens', i, 'kind', CASE WHEN i % 5 = 0 THEN 'response' ELSE 'complete' END)) FROM generate_series(1, 300) AS i))});
}

# Upgrades a database that lives, and looks at it from all sides.
sub upgrades
{
	my ($from, $to, $fresh) = @_;
	(my $db = "from_$from") =~ tr/a-z0-9_/_/c;
	create($db, $from);
	fill($db, 'old');
	ok($node->poll_query_until($db, q{SELECT dirty_minutes = 0 FROM ccproxy.health}), "$from: filled, and rolled up by the worker");
	fill($db, 'dirty');
	my $dump = $node->basedir . "/$db.dump";
	$node->command_ok([ 'pg_dump', '-U', 'ann', '-Fc', '-f', $dump, $db ], 'dumped');
	ok($node->poll_query_until($db, q{SELECT dirty_minutes = 0 FROM ccproxy.health}), 'rolled up');
	my @before = map { CCProxyWorker::as($node, 'ann', $db, $_) } @questions;

	my $offset = -s $node->logfile;
	CCProxyWorker::as($node, 'ann', $db, "ALTER EXTENSION ccproxy_metrics UPDATE TO '$to'");
	is($node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'ccproxy_metrics'}), $to, "updated to $to by the owner");
	fill($db, 'between');
	CCProxyWorker::as($node, 'ann', $db, q{DELETE FROM ccproxy.request_log WHERE request_id LIKE 'between%'; SELECT ccproxy.mark_dirty(now() - interval '4 days', now())});
	CCProxyWorker::as($node, 'ann', $db, q{SELECT ccproxy.create_metrics_table()});
	ok(CCProxyWorker::visited($node, $db), 'the worker goes on');
	same_catalogue($node, $db, $fresh, "$from upgraded to $to is $to");
	ok($node->poll_query_until($db, q{SELECT dirty_minutes = 0 FROM ccproxy.health}), 'all is rolled up');
	is(CCProxyWorker::as($node, 'ann', $db, $questions[$_]), $before[$_], "statistics $_ are what they were") for 0 .. 2;
	fill($db, 'new');
	is(CCProxyWorker::as($node, 'ann', $db, 'SELECT count(*) FROM ccproxy.requests'), 900, 'and it takes events');
	unlike(CCProxyWorker::log_from($node, $offset), qr/(ERROR|FATAL|PANIC):|job ".*" failed/, 'nothing went wrong meanwhile');

	# what was dumped comes back as the new version
	$node->safe_psql('postgres', "CREATE DATABASE ${db}_restored OWNER ann");
	$node->command_ok([ 'pg_restore', '-U', 'ann', '-1', '--exit-on-error', '-d', "${db}_restored", $dump ], 'an old dump is restored');
	CCProxyWorker::as($node, 'ann', "${db}_restored", q{SELECT ccproxy.create_metrics_table()});
	is($node->safe_psql("${db}_restored", q{SELECT extversion FROM pg_extension WHERE extname = 'ccproxy_metrics'}), $to, "as $to");
	same_catalogue($node, "${db}_restored", $fresh, 'with the same catalogue');
	ok($node->poll_query_until("${db}_restored", q{SELECT dirty_minutes = 0 FROM ccproxy.health}), 'rolled up');
	is(CCProxyWorker::as($node, 'ann', "${db}_restored", $questions[$_]), $before[$_], "and statistics $_") for 0 .. $#questions;
}

default_version($next);
create('fresh', $next);
is($node->safe_psql('fresh', 'SELECT ccproxy.next_version()'), 'next', 'the next version installs');
upgrades($current, $next, 'fresh');
is($node->safe_psql('from_' . ($current =~ tr/./_/r), 'SELECT next_setting FROM ccproxy.health'), 5, 'create_metrics_table() brought table and view up to date');
is($node->safe_psql('from_' . ($current =~ tr/./_/r), q{SELECT to_regprocedure('ccproxy.explain_stats(timestamptz, timestamptz, text, jsonb, text)') IS NULL}), 't', 'and what is gone is gone');

default_version($current);
if (grep { $_ ne $current } @released)
{
	create('today', $current);
	upgrades($_, $current, 'today') for grep { $_ ne $current } @released;
}

$node->stop;
done_testing();

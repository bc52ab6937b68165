# A server that does not answer but is not gone either (a frozen host, a network
# that swallows packets): its kernel still takes connections. Nobody may wait for
# it for ever, and reading comes back with it.
use strict;
use warnings;

use CCProxy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = CCProxy::cluster('frozen');

# The postmaster and its children, from /proc.
sub server_pids
{
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @pids = ($postmaster);
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open(my $f, '<', $stat) or next;
		my ($pid, $parent) = (<$f> // '') =~ /^(\d+) \(.*\) \S (\d+)/ or next;
		push @pids, $pid if $parent == $postmaster;
	}
	return @pids;
}

my @frozen;
sub freeze { @frozen = server_pids(); kill 'STOP', @frozen }
sub thaw { kill 'CONT', @frozen; @frozen = () }
END { kill 'CONT', @frozen if @frozen }

my @args = ('--statement-timeout-ms', 500, '--request-deadline-s', 2, '--shutdown-deadline-s', 1, '--read-connections', 1);
my $gateway = CCProxy->start(node => $node, args => \@args);
is($gateway->get('/metrics/api/stats?period=1h')->{status}, 200, 'statistics are read');

freeze();
is($gateway->get('/metrics/api/stats?period=6h')->{status}, 503, 'a question to a frozen server is answered 503');
sleep 8;						# statement_timeout_ms and the grace after it
thaw();
my $until = time + 20;
my $status = 0;
while ($status != 200 && time < $until)
{
	$status = $gateway->get('/metrics/api/stats?period=1h')->{status};
	sleep 0.2 if $status != 200;
}
is($status, 200, 'reading comes back with the server');

# SIGTERM with a query on its way that is never answered
freeze();
is($gateway->get('/metrics/api/stats?period=6h')->{status}, 503, 'frozen again');
my $start = time;
is($gateway->stop, 0, 'SIGTERM ends a gateway whose server is frozen');
cmp_ok(time - $start, '<', 20, 'within its deadlines');
thaw();

$node->stop;
done_testing();

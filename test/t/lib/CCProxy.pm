# For tests of the gateway: a cluster with the extension in it, gateways on free
# ports of 127.0.0.1, and a few HTTP calls.
#
#	my $node = CCProxy::cluster('name');            # database "metrics"
#	my $gateway = CCProxy->start(node => $node, args => ['--workers', 6]);
#	my $r = $gateway->post([ {request_id => 'a', ...} ]);   # HTTP::Tiny's answer
#	is($r->{status}, 200); is($r->{json}{accepted}, 1);
#	$gateway->stop;                                 # SIGTERM; its exit status
#
# Requests say Cache-Control: no-cache unless they say otherwise: a test that has
# just written something wants to read it, not what was kept a second ago.
#
# A gateway that is still running when the test ends is killed.
package CCProxy;

use strict;
use warnings;

use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our $WAIT_SECONDS = 60;
my %running;

# A started cluster with database "metrics", extension and tables.
sub cluster
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "extension_destdir = '$ENV{CCPROXY_STAGE}'") if $ENV{CCPROXY_STAGE};
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE metrics');
	$node->safe_psql('metrics', 'CREATE EXTENSION ccproxy_metrics; SELECT ccproxy.create_metrics_table()');
	return $node;
}

sub gateway_program
{
	return $ENV{CCPROXY_GATEWAY} || 'gateway/ccproxy-gateway';
}

# Runs the gateway to its end: (exit status, stdout, stderr).
sub run_gateway
{
	my ($args, %env) = @_;
	local @ENV{ keys %env } = values %env;
	my ($out, $err) = ('', '');
	IPC::Run::run([ gateway_program(), @$args ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# Starts one. node or db_url; args; env; listen (default a free port of
# 127.0.0.1); ready => 0: do not wait for /readyz, only until it listens;
# token: sent with every call; maintenance: its interval (default 0,
# never: tests say themselves when housekeeping is due); spool: the path of its
# spool (default none).
sub start
{
	my ($class, %o) = @_;
	my $self = bless { token => $o{token}, log => PostgreSQL::Test::Utils::tempdir_short() . '/gateway.log' }, $class;
	my $url = $o{db_url} // $o{node}->connstr('metrics');
	my @command = (gateway_program(), '--listen', $o{listen} // '127.0.0.1:0', '--metrics-db-url', $url,
		'--maintenance-interval-s', $o{maintenance} // 0, '--spool-path', $o{spool} // '', @{ $o{args} // [] });
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		$ENV{$_} = $o{env}{$_} for keys %{ $o{env} // {} };
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $self->{log});
		open(STDERR, '>>', $self->{log});
		exec(@command) or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = 1;
	$self->wait_for_log(qr/event=listening .*port=(\d+)/);
	($self->{port}) = $self->log_text =~ /event=listening .*port=(\d+)/;
	$self->{url} = "http://127.0.0.1:$self->{port}";
	$self->wait_ready unless defined $o{ready} && !$o{ready};
	return $self;
}

sub log_text
{
	my ($self) = @_;
	return '' unless -e $self->{log};
	return slurp_file($self->{log});
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time + $WAIT_SECONDS;
	while (time < $until)
	{
		return 1 if $condition->();
		sleep 0.02;
	}
	die "timed out waiting for $what";
}

sub wait_for_log
{
	my ($self, $pattern) = @_;
	wait_until("$pattern in the gateway's log", sub {
		return 1 if $self->log_text =~ $pattern;
		die "the gateway has ended:\n" . $self->log_text unless $self->alive;
		return 0;
	});
}

sub wait_ready
{
	my ($self) = @_;
	wait_until('/readyz', sub { $self->get('/readyz')->{status} == 200 });
}

sub alive
{
	my ($self) = @_;
	return 0 unless $running{ $self->{pid} };
	if (waitpid($self->{pid}, POSIX::WNOHANG()) == $self->{pid})
	{
		$self->{status} = $?;
		delete $running{ $self->{pid} };
		return 0;
	}
	return 1;
}

sub client
{
	my ($self) = @_;
	return $self->{client} //= HTTP::Tiny->new(timeout => $WAIT_SECONDS, keep_alive => 1);
}

sub request
{
	my ($self, $method, $path, %o) = @_;
	my %headers = ('cache-control' => 'no-cache', %{ $o{headers} // {} });
	delete $headers{'cache-control'} unless defined $headers{'cache-control'};
	$headers{authorization} //= "Bearer $self->{token}" if defined $self->{token};
	my $r = $self->client->request($method, $self->{url} . $path,
		{ headers => \%headers, defined $o{content} ? (content => $o{content}) : () });
	$r->{json} = eval { JSON::PP->new->utf8->decode($r->{content}) } if ($r->{headers}{'content-type'} // '') =~ /json/;
	return $r;
}

sub get
{
	my ($self, $path, %headers) = @_;
	return $self->request('GET', $path, headers => \%headers);
}

# Posts events: text as it is, anything else as JSON.
sub post
{
	my ($self, $events, %headers) = @_;
	my $body = ref $events ? JSON::PP->new->utf8->encode($events) : $events;
	return $self->request('POST', '/metrics/api/events',
		content => $body, headers => { 'content-type' => 'application/json', %headers });
}

# Ends it with a signal (default TERM) and waits: its wait status.
sub stop
{
	my ($self, $signal) = @_;
	if ($self->alive)
	{
		kill($signal // 'TERM', $self->{pid});
		wait_until('the gateway to end', sub { !$self->alive });
	}
	delete $self->{client};
	return $self->{status};
}

END
{
	my $status = $?;
	for my $pid (keys %running)
	{
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
	$? = $status;
}

1;

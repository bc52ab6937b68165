# For crash tests of the gateway: posts whose content follows from their number,
# clients that send them and note what was acknowledged, the check of the table
# against it, and a proxy that breaks connections.
#
# A post is named by a round, a stream and a number; whoever sends it, however
# often, sends the same. Of each event every field that was sent is compared.
#
#	my $crash = CCProxyCrash->new(node => $node, seed => 1, round => 7);
#	my @clients = map { $crash->start_client(stream => 'a', ports => [ $port ]) } 1 .. 3;
#	... harm ...
#	my $ledger = $crash->stop_clients(@clients);   # post => whether acknowledged
#	is($crash->check($ledger), '', 'nothing is lost, twice, half or wrong');
package CCProxyCrash;

use strict;
use warnings;

use CCProxy;
use Digest::MD5 qw(md5);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my @SIZES = (1, 1, 1, 3, 40, 400);
my @MODELS = qw(gpt-4 claude-3-opus none-such);
my @PARTS = qw(request response token_usage);
my %PART_FIELDS = (
	request => [qw(user_id model path)],
	response => [qw(status_code response_time_ms)],
	token_usage => [qw(input_tokens output_tokens)]);
my @FIELDS = map { @{ $PART_FIELDS{$_} } } @PARTS;
my $NUMBERS = qr/^(?:status_code|response_time_ms|input_tokens|output_tokens)$/;

my %proxies;

sub new
{
	my ($class, %o) = @_;
	my $self = bless { base => int(time) - 600, dir => PostgreSQL::Test::Utils::tempdir_short(), clients => 0, %o }, $class;
	return $self;
}

# ------------------------------------------------------------------- posts

# A number that follows from the seed, the round and a name.
sub number
{
	my ($self, $name) = @_;
	return unpack('L', md5("$self->{seed}/$self->{round}/$name"));
}

sub fields
{
	my ($self, $id) = @_;
	my $v = $self->number("id $id");
	return {
		user_id => 'u' . $v % 97, model => $MODELS[ $v % @MODELS ], path => '/v1/' . $v % 1000,
		status_code => $v % 7 == 0 ? 429 : 200, response_time_ms => $v % 60_000,
		input_tokens => $v % 100_000, output_tokens => $v % 9973 };
}

# The events of a post: one or many complete ones, some without a time; every
# third post has parts among them, of requests whose other parts come in the
# next posts of that kind, in any order.
sub events
{
	my ($self, $stream, $n) = @_;
	my $v = $self->number("post $stream $n");
	my @events;
	my $size = $n % 3 == 0 ? 3 : $SIZES[ $v % @SIZES ];
	for my $i (1 .. $size)
	{
		my $id = "r$self->{round}-$stream-$n-$i";
		my $event = { request_id => $id, %{ $self->fields($id) } };
		$event->{timestamp} = $self->{base} + ($v + $i) % 500 unless ($v + $i) % 5 == 0;
		push @events, $event;
	}
	if ($n % 3 == 0)
	{
		my $group = int($n / 9);
		my $at = (int($n / 3) + $self->number("order $stream $group")) % 3;
		for my $i (1 .. 4)
		{
			my $id = "r$self->{round}-$stream-p$group-$i";
			my $kind = $PARTS[ ($at * (1 + $i % 2) + $i) % 3 ];
			my $fields = $self->fields($id);
			my $event = { request_id => $id, kind => $kind, map { $_ => $fields->{$_} } @{ $PART_FIELDS{$kind} } };
			$event->{timestamp} = $self->{base} + $i if $v % 2;
			splice(@events, $i % (@events + 1), 0, $event);
		}
	}
	return @events;
}

sub body { my ($self, $stream, $n) = @_; return JSON::PP->new->utf8->encode([ $self->events($stream, $n) ]) }

# ----------------------------------------------------------------- clients

# True when the answer acknowledges all n events; dies when it refuses one.
sub acknowledged
{
	my ($r, $n) = @_;
	my $json = $r->{status} == 200 || $r->{status} == 400 ? eval { JSON::PP->new->utf8->decode($r->{content}) } : undef;
	return 0 if $r->{status} != 200 && $r->{status} != 400;
	die "not an answer to $n events: $r->{status} $r->{content}\n"
		if !$json || $r->{status} == 400 || !$json->{stored} || !$json->{durable} || $json->{accepted} + $json->{duplicates} != $n;
	return 1;
}

# Posts its stream, one after the other, until told to stop. What is not
# acknowledged it retries a few times, through the next of its ports.
sub client
{
	my ($self, $o, $file) = @_;
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	local $SIG{PIPE} = 'IGNORE';
	open(my $out, '>', $file) or die "$file: $!";
	my $http = HTTP::Tiny->new(timeout => 30, keep_alive => 1);
	my @ports = @{ $o->{ports} };
	for (my $n = $o->{from} // 0; !$stop && $n < ($o->{to} // 1e9); $n++)
	{
		my @events = $self->events($o->{stream}, $n);
		my $body = JSON::PP->new->utf8->encode(\@events);
		my $acked = 0;
		for my $try (1 .. 1 + $self->number("tries $o->{stream} $n") % 4)
		{
			my $r = $http->request('POST', "http://127.0.0.1:$ports[0]/metrics/api/events",
				{ headers => { 'content-type' => 'application/json' }, content => $body });
			$acked = acknowledged($r, scalar @events);
			last if $acked || $stop;
			push @ports, shift @ports;
			sleep(0.02);
		}
		print $out "$o->{stream} $n $acked\n";
	}
	close $out or die "$file: $!";
}

# stream; ports: of gateways, the first is the one it likes; from, to: numbers.
sub start_client
{
	my ($self, %o) = @_;
	my $file = "$self->{dir}/client" . ++$self->{clients};
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		eval { $self->client(\%o, $file); 1 } or do { print STDERR "# client: $@"; POSIX::_exit(1) };
		POSIX::_exit(0);
	}
	return { pid => $pid, file => $file };
}

# Waits for clients to end; with a true first argument, tells them to. What they
# note is added to the ledger.
sub end_clients
{
	my ($self, $tell, @clients) = @_;
	kill('TERM', $_->{pid}) for $tell ? @clients : ();
	for my $client (@clients)
	{
		waitpid($client->{pid}, 0);
		die "a client ended with $?\n" if $? != 0;
		for (split /\n/, slurp_file($client->{file}))
		{
			my ($stream, $n, $acked) = split / /;
			$self->{ledger}{$stream}{$n} ||= $acked;
		}
		unlink $client->{file};
	}
	return $self->{ledger};
}

# [stream, number] of all posts, or of those that were never acknowledged.
sub posts
{
	my ($self, $unacknowledged) = @_;
	return map { my $s = $_; map { [ $s, $_ ] } grep { !$unacknowledged || !$self->{ledger}{$s}{$_} } sort { $a <=> $b } keys %{ $self->{ledger}{$s} } }
		sort keys %{ $self->{ledger} };
}

# ------------------------------------------------------------------- check

# What must be there of each request, and what may be.
sub expected
{
	my ($self) = @_;
	my (%must, %may, %ts);
	for ($self->posts)
	{
		my ($stream, $n) = @$_;
		for my $e ($self->events($stream, $n))
		{
			my $part = $e->{kind} // 'complete';
			($self->{ledger}{$stream}{$n} ? \%must : \%may)->{ $e->{request_id} }{$part} = 1;
			$ts{ $e->{request_id} } = $e->{timestamp} if $part eq 'complete' && $e->{timestamp};
		}
	}
	return (\%must, \%may, \%ts);
}

# Compares the table with the ledger: '' or what is wrong with the first few.
sub check
{
	my ($self) = @_;
	my ($must, $may, $ts) = $self->expected;
	my $columns = join(', ', 'request_id', 'extract(epoch FROM ts)', map { /$NUMBERS/ ? "${_}::numeric" : $_ } @FIELDS);
	my %seen;
	my @wrong;
	for (split /\n/, $self->{node}->safe_psql('metrics', "SELECT $columns FROM ccproxy.requests WHERE request_id LIKE 'r$self->{round}-%'"))
	{
		my ($id, $at, @values) = split /\|/, $_, -1;
		my $fields = $self->fields($id);
		push @wrong, "$id is there twice" if $seen{$id}++;
		push @wrong, "$id was never sent" unless $must->{$id} || $may->{$id};
		push @wrong, "$id has the time $at" if $ts->{$id} && $at != $ts->{$id};
		my %value;
		@value{@FIELDS} = @values;
		for my $part (@PARTS)
		{
			my @names = @{ $PART_FIELDS{$part} };
			my $got = join(' ', map { $value{$_} } @names);
			my $sent = join(' ', map { $fields->{$_} } @names);
			my $owed = $must->{$id}{complete} || $must->{$id}{$part};
			my $possible = $owed || $may->{$id}{complete} || $may->{$id}{$part};
			next if $possible && $got eq $sent;
			next if !$owed && $got =~ /^ *$/;
			push @wrong, "$id has '$got' of $part, sent was '" . ($possible ? $sent : '') . "'";
		}
		# an event that came in one piece is there in one piece
		my $missing = grep { $value{$_} eq '' } @FIELDS;
		push @wrong, "$id is there by half" if $missing && ($must->{$id}{complete} || $may->{$id}{complete});
	}
	push @wrong, map { "$_ is lost" } grep { !$seen{$_} } sort keys %$must;
	$self->{acknowledged} = keys %$must;
	$self->{others} = grep { !$must->{$_} } keys %$may;
	my $all = @wrong;
	splice(@wrong, 12);
	return join("\n", @wrong, $all > 12 ? "and $all in all" : ());
}

# Minutes that have rows and are not marked for the rollups (nothing has been rolled up).
sub unmarked_minutes
{
	my ($self) = @_;
	return $self->{node}->safe_psql('metrics', q{SELECT count(*) FROM (SELECT DISTINCT date_trunc('minute', ts) AS minute FROM ccproxy.request_log) AS r
		WHERE NOT EXISTS (SELECT FROM ccproxy.dirty_minute AS d WHERE d.minute = r.minute)});
}

# -------------------------------------------------------------- the gateway

# Until PostgreSQL takes events and the spool is usable and empty.
sub wait_drained
{
	my ($gateway) = @_;
	my $r;
	eval {
		CCProxy::wait_until('the spool to be drained', sub {
			$r = $gateway->get('/readyz')->{json};
			$r->{durable_in} eq 'postgres' && $r->{spool} eq 'ok' && $r->{spooled_events} == 0 });
	} or die $@, JSON::PP->new->encode($r), "\n", substr($gateway->log_text, -4000), "\n";
}

sub wait_away
{
	my ($gateway) = @_;
	CCProxy::wait_until('the gateway to use its spool', sub { ($gateway->get('/readyz')->{json}{durable_in} // '') eq 'spool' });
}

# Posts number n of stream s and notes it: the answer.
sub post
{
	my ($self, $gateway, $n) = @_;
	my $r = $gateway->post($self->body('s', $n));
	$self->{ledger}{s}{$n} ||= acknowledged($r, scalar $self->events('s', $n));
	return $r;
}

# Posts what was not acknowledged until it is.
sub retry
{
	my ($self, $gateway) = @_;
	CCProxy::wait_until('the rest to be acknowledged', sub {
		$self->post($gateway, $_->[1]) for $self->posts('unacknowledged');
		return $self->posts('unacknowledged') == 0 });
}

# The same by clients at once: a gateway that is busy may answer 503 to some of
# them, as to any client, and is asked again. How many posts there were.
sub retry_at_once
{
	my ($self, @ports) = @_;
	my $posts = () = $self->posts('unacknowledged');
	CCProxy::wait_until('the rest to be acknowledged', sub {
		$self->end_clients(0, map { my ($stream, $n) = @$_; $self->start_client(stream => $stream, from => $n, to => $n + 1, ports => [ $ports[ rand @ports ] ]) }
			$self->posts('unacknowledged'));
		return $self->posts('unacknowledged') == 0 });
	return $posts;
}

# ----------------------------------------------------------------- a proxy

# Between gateway and server: forwards, until it finds a file in its folder:
#	swallow		drops both connections instead of the server's next answer to a COMMIT
#	cut			holds a number: drops them after so many more bytes, either way
# and removes it. { pid, port, dir }; it is killed when the test ends.
sub start_proxy
{
	my ($node) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16, ReuseAddr => 1) or die "listen: $!";
	my $proxy = { port => $listener->sockport, dir => $dir };
	my $server = $node->host . '/.s.PGSQL.' . $node->port;
	$proxy->{pid} = fork() // die "fork: $!";
	if ($proxy->{pid} == 0)
	{
		forward($listener, $server, $dir);
		POSIX::_exit(0);
	}
	$proxies{ $proxy->{pid} } = 1;
	return $proxy;
}

sub tell_proxy
{
	my ($proxy, $what, $content) = @_;
	append_to_file("$proxy->{dir}/.new", ($content // '') . "\n");
	rename("$proxy->{dir}/.new", "$proxy->{dir}/$what") or die "rename: $!";
}

sub proxy_has_done { my ($proxy, $what) = @_; return !-e "$proxy->{dir}/$what" }

sub forward
{
	my ($listener, $server_path, $dir) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $select = IO::Select->new($listener);
	my (%peer, %from_server);
	my $cut;
	my $drop = sub { for my $s (grep { defined } @_) { $select->remove($s); delete $peer{$s}; delete $from_server{$s}; close $s } };
	while (1)
	{
		for my $s ($select->can_read)
		{
			if ($s == $listener)
			{
				my $client = $listener->accept or next;
				my $server = IO::Socket::UNIX->new(Peer => $server_path);
				if (!$server) { close $client; next }
				($peer{$client}, $peer{$server}) = ($server, $client);
				$from_server{$server} = 1;
				$select->add($client, $server);
				next;
			}
			my $other = $peer{$s} or next;
			my $n = sysread($s, my $data, 65536);
			if (!$n || ($from_server{$s} && $data =~ /C\0\0\0\x0bCOMMIT\0/ && unlink "$dir/swallow"))
			{
				$drop->($s, $other);
				next;
			}
			$cut //= 0 + slurp_file("$dir/cut") if -e "$dir/cut";
			my $over = defined $cut && ($cut -= length $data) <= 0;
			$data = substr($data, 0, length($data) + $cut) if $over;
			while (length $data)
			{
				my $written = syswrite($other, $data);
				if (!defined $written) { $drop->($s, $other); last }
				substr($data, 0, $written, '');
			}
			next unless $over;
			$cut = undef;
			unlink "$dir/cut";
			$drop->($s, $other);
		}
	}
}

END
{
	my $status = $?;
	for my $pid (keys %proxies)
	{
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
	$? = $status;
}

1;

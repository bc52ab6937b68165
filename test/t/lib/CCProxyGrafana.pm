# Grafana as far as a dashboard's queries go: which there are, and what becomes
# of their variables and macros before the database sees them (Grafana's
# PostgreSQL plugin: macros.go, and the sqlstring format of its variables).
#
#	for my $q (CCProxyGrafana::queries(CCProxyGrafana::dashboards())) {
#		my $sql = CCProxyGrafana::expand($q->{sql}, from => $epoch, to => $epoch, variables => {model => ['gpt-4']});
#	}
package CCProxyGrafana;

use strict;
use warnings;

use JSON::PP ();
use POSIX qw(strftime);

# What Grafana calls $__interval: the range over the panel's width, rounded.
our $POINTS = 1000;
my @ROUND = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800);
my %UNIT = (s => 1, m => 60, h => 3600, d => 86400, w => 604800);

# name => dashboard
sub dashboards
{
	my %found;
	for my $file (glob 'gateway/grafana/dashboards/*.json')
	{
		open(my $f, '<', $file) or die "$file: $!";
		$found{$file} = JSON::PP->new->utf8->decode(do { local $/; <$f> });
	}
	return \%found;
}

# Every query of panels and variables: {where, sql or expr, format}.
sub queries
{
	my ($dashboards) = @_;
	my @queries;
	for my $name (sort keys %$dashboards)
	{
		my $d = $dashboards->{$name};
		for my $v (@{ $d->{templating}{list} })
		{
			push @queries, { where => "$name variable $v->{name}", sql => $v->{query}, format => 'table' } if !ref $v->{query};
		}
		for my $p (@{ $d->{panels} })
		{
			for my $t (@{ $p->{targets} })
			{
				push @queries, { where => "$name \"$p->{title}\" $t->{refId}", dashboard => $d, sql => $t->{rawSql}, expr => $t->{expr}, format => $t->{format} };
			}
		}
	}
	return @queries;
}

sub seconds
{
	my ($interval) = @_;
	my ($n, $unit) = $interval =~ /^'?(\d+)([smhdw])'?$/ or die "no interval: $interval";
	return $n * $UNIT{$unit};
}

sub interval
{
	my ($from, $to) = @_;
	my ($s) = grep { $_ >= ($to - $from) / $POINTS } @ROUND;
	return $s // $ROUND[-1];
}

sub interval_text
{
	my ($s) = @_;
	for my $u (qw(d h m)) { return $s / $UNIT{$u} . $u if $s % $UNIT{$u} == 0 }
	return "${s}s";
}

sub quoted { return join(',', map { "'" . s/'/''/gr . "'" } @_) }

sub macro
{
	my ($name, $from, $to, @args) = @_;
	s/^\s+|\s+$//g for @args;
	return "$args[0] BETWEEN '$from' AND '$to'" if $name eq '__timeFilter' && @args == 1;
	return "'$from'" if $name eq '__timeFrom' && !@args;
	return "'$to'" if $name eq '__timeTo' && !@args;
	if ($name =~ /^__timeGroup(Alias)?$/ && @args == 2)
	{
		my $s = seconds($args[1]);
		return "floor(extract(epoch from $args[0])/$s)*$s" . ($1 ? ' AS "time"' : '');
	}
	die "unknown macro \$$name(@args)";
}

# variables: name => [values]; those of all a query's answers stand for All.
sub expand
{
	my ($sql, %o) = @_;
	my ($from, $to) = map { strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_) } @o{qw(from to)};
	my $interval = interval(@o{qw(from to)});
	$sql =~ s/\$\{(\w+):sqlstring\}/quoted(@{ $o{variables}{$1} \/\/ die "no variable $1" })/ge;
	$sql =~ s/\$__interval_ms/1000 * $interval/ge;
	$sql =~ s/\$__interval/interval_text($interval)/ge;
	$sql =~ s/\$(__\w+)\(([^)]*)\)/macro($1, $from, $to, split(',', $2))/ge;
	die "not expanded: $sql" if $sql =~ /\$[_{a-z]/;
	return $sql;
}

1;

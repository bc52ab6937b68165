#!/usr/bin/perl
# Turn catalogue/prices.csv and catalogue/aliases.csv into the C table that is
# compiled in: perl pricing/catalogue/make_table.pl > pricing/price_shipped_data.h
#
# Rates are decimals of USD per million tokens (per 1,000 calls for searches and
# requests); they become whole attodollars by moving the decimal point, never
# through floating point. Anything the table cannot hold exactly is an error.
use strict;
use warnings;

my $dir = $0 =~ m{^(.*)/} ? $1 : '.';
my @token_rates = qw(input cache_read cache_write cache_write_1h output reasoning
  input_audio cache_read_audio output_audio input_image output_image);
my @call_rates = qw(web_search file_search per_request);
my @header = (qw(id provider model match tier context from to window), @token_rates,
	@call_rates, qw(multipliers source note));
my $where;

sub fail { die "$where: @_\n" }

# CSV: fields with commas or quotes are quoted, quotes doubled
sub fields
{
	my ($line) = @_;
	my @f;
	while (1)
	{
		if ($line =~ /\G"((?:[^"]|"")*)"/gc) { my $v = $1; $v =~ s/""/"/g; push @f, $v; }
		elsif ($line =~ /\G([^",]*)/gc) { push @f, $1; }
		last if $line !~ /\G,/gc;
	}
	fail("malformed line") if (pos($line) // 0) != length $line;
	return @f;
}

sub read_csv
{
	my ($name, @columns) = @_;
	my @rows;
	open my $fh, '<', "$dir/$name" or die "$dir/$name: $!\n";
	while (my $line = <$fh>)
	{
		$where = "$name:$.";
		chomp $line;
		next if $line eq '';
		my @f = fields($line);
		fail('expected ' . @columns . ' fields, found ' . @f) if @f != @columns;
		if ($. == 1) { fail("unexpected header") if "@f" ne "@columns"; next; }
		my %row;
		@row{@columns} = @f;
		$row{where} = $where;
		push @rows, \%row;
	}
	return @rows;
}

sub text
{
	my ($s) = @_;
	fail("text '$s' has characters that are not plain ASCII") if $s =~ /[^\x20-\x7e]/;
	my $len = length $s;
	fail("text longer than 256 bytes") if $len > 256;
	$s =~ s/(["\\])/\\$1/g;
	return "{\"$s\", $len}";
}

sub scaled    # decimal text times 10^digits, as a whole number in text
{
	my ($s, $digits) = @_;
	$s =~ /^(\d+)(?:\.(\d+))?$/ or fail("'$s' is no plain decimal");
	my ($whole, $part) = ($1, $2 // '');
	$part =~ s/0+$//;
	fail("'$s' has too many decimals") if length $part > $digits;
	my $n = $whole . $part . '0' x ($digits - length $part);
	$n =~ s/^0+(?=\d)//;
	fail("'$s' is too large") if length $n > 19 || (length $n == 19 && $n gt '9223372036854775807');
	return $n;
}

sub rate { my ($s, $digits) = @_; return $s eq '' ? 'PRICE_NO_RATE' : 'INT64_C(' . scaled($s, $digits) . ')'; }

sub instant    # YYYY-MM-DD or YYYY-MM-DDTHH:MMZ to microseconds since 1970
{
	my ($s, $default) = @_;
	return $default if $s eq '';
	$s =~ /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)Z)?$/ or fail("'$s' is no time");
	my ($y, $m, $d, $h, $min) = ($1, $2, $3, $4 // 0, $5 // 0);
	fail("'$s' is no time") if $m < 1 || $m > 12 || $d < 1 || $d > 31 || $h > 23 || $min > 59;
	my $yy = $m <= 2 ? $y - 1 : $y;
	my $era = int($yy / 400);
	my $yoe = $yy - $era * 400;
	my $doy = int((153 * ($m + ($m > 2 ? -3 : 9)) + 2) / 5) + $d - 1;
	my $days = $era * 146097 + $yoe * 365 + int($yoe / 4) - int($yoe / 100) + $doy - 719468;
	return 'INT64_C(' . (($days * 1440 + $h * 60 + $min) * 60000000) . ')';
}

sub window
{
	my ($s) = @_;
	return (0, 0) if $s eq '';
	$s =~ /^(\d\d):(\d\d)-(\d\d):(\d\d)$/ && $1 < 24 && $3 < 24 && $2 < 60 && $4 < 60
	  or fail("'$s' is no daily window");
	return ($1 * 60 + $2, $3 * 60 + $4);
}

my %match = (exact => 'PRICE_MATCH_EXACT', prefix => 'PRICE_MATCH_PREFIX',
	suffix => 'PRICE_MATCH_SUFFIX', contains => 'PRICE_MATCH_CONTAINS');
my (%id, %key, %multipliers, @multipliers, @out);

for my $r (read_csv('prices.csv', @header))
{
	$where = $r->{where};
	fail("id '$r->{id}'") if $r->{id} !~ /^[1-9]\d{0,6}$/;
	fail("id $r->{id} twice") if $id{ $r->{id} }++;
	fail("no provider, model or tier") if grep { $r->{$_} eq '' } qw(provider model tier);
	fail("upper case") if "$r->{provider}$r->{model}$r->{tier}" =~ /[A-Z]/;
	fail("no source") if $r->{source} eq '';
	my $match = $match{ $r->{match} } // fail("match '$r->{match}'");
	my $key = join '|', @$r{qw(provider model match tier context from window)};
	fail("the same price twice: $key") if $key{$key}++;
	my ($inclusive, $context) = $r->{context} eq '' ? (1, 0)
	  : $r->{context} =~ /^>(=?)(\d{1,12})$/ ? ($1 ne '' ? 1 : 0, $2) : fail("context '$r->{context}'");
	my ($from_min, $to_min) = window($r->{window});
	my @m = split ' ', $r->{multipliers};
	fail("more than 8 multipliers") if @m > 8;
	my $list = 'NULL';
	if (@m)
	{
		my $c = join ', ', map {
			/^([a-z0-9_.-]+)=([\d.]+)$/ or fail("multiplier '$_'");
			my ($n, $f) = ($1, $2);
			my $ppm = scaled($f, 6);
			fail("multiplier '$_'") if $ppm <= 0 || $ppm >= 1000000000;
			'{' . text($n) . ", $ppm}"
		} @m;
		if (!defined $multipliers{$c})
		{
			$multipliers{$c} = @multipliers;
			push @multipliers, "static const struct price_multiplier multipliers_" . @multipliers . "[] = {$c};";
		}
		$list = "multipliers_$multipliers{$c}";
	}
	push @out, "\t{$r->{id}, 0, " . text($r->{provider}) . ', ' . text($r->{model}) . ", $match, " . text($r->{tier})
	  . ",\n\t\t$context, " . ($inclusive ? 'true' : 'false') . ', ' . instant($r->{from}, 'PRICE_ALWAYS_FROM') . ', '
	  . instant($r->{to}, 'PRICE_ALWAYS_TO') . ", $from_min, $to_min, " . scalar(@m) . ", $list,\n\t\t{"
	  . join(', ', (map { rate($r->{$_}, 12) } @token_rates), (map { rate($r->{$_}, 15) } @call_rates))
	  . "},\n\t\t" . text($r->{source}) . ', ' . text($r->{note}) . '},';
}

my @aliases;
for my $a (read_csv('aliases.csv', qw(provider alias model)))
{
	$where = $a->{where};
	fail("empty or upper case") if grep { $_ eq '' || /[A-Z]/ } @$a{qw(provider alias model)};
	fail("no price of $a->{provider} $a->{model}")
	  if !grep { index($_, "$a->{provider}|$a->{model}|exact|") == 0 } keys %key;
	fail("$a->{alias} has prices of its own")
	  if grep { index($_, "$a->{provider}|$a->{alias}|exact|") == 0 } keys %key;
	fail("alias twice") if $key{"$a->{provider}|$a->{alias}|alias"}++;
	push @aliases, "\t{" . join(', ', map { text($a->{$_}) } qw(provider alias model)) . '},';
}

print "/* Made by pricing/catalogue/make_table.pl from prices.csv and aliases.csv: do not edit. */\n",
  join("\n", @multipliers), "\n\nstatic const struct price_row shipped_rows[] = {\n", join("\n", @out),
  "\n};\n\nstatic const struct price_alias shipped_aliases[] = {\n", join("\n", @aliases), "\n};\n";

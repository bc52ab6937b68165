# The compiled-in price table is what the reviewed CSV files say, and they say
# what genai-prices does, or a note says why not.
use strict;
use warnings;
use Test::More;
use File::Basename qw(dirname);
use JSON::PP;

my $pricing = dirname(__FILE__) . '/../../pricing';
my $made = `perl $pricing/catalogue/make_table.pl`;
is($?, 0, 'prices.csv and aliases.csv make a table');

sub slurp
{
	my ($name) = @_;
	open my $fh, '<', "$pricing/$name" or die "$name: $!";
	local $/;
	return <$fh>;
}

ok($made eq slurp('price_shipped_data.h'),
	'price_shipped_data.h is that table (else: perl pricing/catalogue/make_table.pl > pricing/price_shipped_data.h)');

# ---- prices.csv by provider and name

my @lines = split /\n/, slurp('catalogue/prices.csv');
my @columns = split /,/, shift @lines;
my (%rows, %name);
for my $line (@lines)
{
	my @f = map { s/^"(.*)"$/$1/r =~ s/""/"/gr } $line =~ /(?:^|,)("(?:[^"]|"")*"|[^,]*)/g;
	my %r;
	@r{@columns} = @f;
	push @{ $rows{"$r{provider} $r{model}"} }, \%r;
	$name{"$r{provider} $r{model}"} //= "$r{provider} $r{model}" if $r{match} eq 'exact';
}
for my $line (split /\n/, slurp('catalogue/aliases.csv'))
{
	my ($provider, $alias, $model) = split /,/, $line;
	$name{"$provider $alias"} //= "$provider $model";
}

# ---- ids are for ever: stored requests name them

my %row = map { $_->{id} => $_ } map { @$_ } values %rows;
my @ids = split /\n/, slurp('catalogue/ids.csv');
my @key = split /,/, shift @ids;
my @moved = grep {
	my @f = split /,/, $_, -1;
	my $r = $row{ $f[0] };
	!$r || join(',', map { $r->{$_} } @key) ne $_
} @ids;
is(join("\n", @moved), '', 'every id ever given still means the price it was given to (catalogue/ids.csv)');
is(scalar(@ids), scalar(@lines), 'and every price is in that list');

# ---- what genai-prices says, price by price

my %ours = ('x-ai' => 'xai', voyageai => 'voyage');
my %rate = (input_mtok => 'input', cache_read_mtok => 'cache_read', cache_write_mtok => 'cache_write',
	cache_write_1h_mtok => 'cache_write_1h', output_mtok => 'output', output_reasoning_mtok => 'reasoning',
	input_audio_mtok => 'input_audio', output_audio_mtok => 'output_audio', web_searches_kcount => 'web_search');
my $source = decode_json(slurp('catalogue/genai-prices.json'));
my ($compared, $noted, @wrong, $unknown) = (0, 0);

# the names a match accepts as they are
sub equals
{
	my ($m) = @_;
	return map { equals($_) } @{ $m->{or} } if $m->{or};
	return $m->{equals} // $m->{starts_with} // $m->{contains} // ();
}

# a rate for the smallest prompts, and for those above the first tier
sub base { my ($p) = @_; return ref $p ? $p->{base} : $p; }

for my $p (@{ $source->{providers} })
{
	my $provider = $ours{ $p->{id} } // $p->{id};
	for my $m (@{ $p->{models} })
	{
		my $id = lc $m->{id} =~ s/^regional\.//r;
		my ($key) = grep { defined } map { $name{"$provider $_"} }
		  map { (lc, lc =~ s/-v\d+(:\d+)?$//r, lc =~ s/(-20\d{6}|-20\d\d-\d\d-\d\d)?(-v\d+(:\d+)?)?$//r, lc =~ s/-latest$//r, lc =~ s/[-@.]$//r,
			  lc =~ s/-20\d\d-?$//r) } $id, equals($m->{match});
		my @sets = ref $m->{prices} eq 'ARRAY' ? map { $_->{prices} } @{ $m->{prices} } : ($m->{prices});
		for my $set (@sets)
		{
			my %want = map { $rate{$_} => base($set->{$_}) } grep { $rate{$_} && defined $set->{$_} } keys %$set;
			next if !grep { !/^web_search$/ } keys %want;
			if (!defined $key) { $unknown .= "# $provider $id\n"; next; }
			$compared++;
			my @have = @{ $rows{$key} };
			next if grep {
				my $r = $_;
				!grep { ($r->{$_} eq '' ? 'none' : $r->{$_} + 0) ne $want{$_} + 0 } keys %want
			} @have;
			if (grep { $_->{note} =~ /genai-prices/ } @have) { $noted++; next; }
			push @wrong, "$key: they have " . join(' ', map { "$_=$want{$_}" } sort keys %want);
		}
	}
}
cmp_ok($compared, '>', 500, "$compared prices of genai-prices to compare");
is(join("\n", @wrong), '', "none is contradicted without a note ($noted with one)");
is($unknown // '', '', 'and every model with a price per token has a name of ours');

done_testing();

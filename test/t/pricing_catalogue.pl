# The compiled-in price table is what the reviewed CSV files say.
use strict;
use warnings;
use Test::More;
use File::Basename qw(dirname);

my $pricing = dirname(__FILE__) . '/../../pricing';
my $made = `perl $pricing/catalogue/make_table.pl`;
is($?, 0, 'prices.csv and aliases.csv make a table');

open my $fh, '<', "$pricing/price_shipped_data.h" or die "price_shipped_data.h: $!";
my $checked_in = do { local $/; <$fh> };
ok($made eq $checked_in,
	'price_shipped_data.h is that table (else: perl pricing/catalogue/make_table.pl > pricing/price_shipped_data.h)');

done_testing();

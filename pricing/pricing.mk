# The price catalogue: reviewed CSV -> the C table that is compiled in.

# make catalogue: ask npm for the current @pydantic/genai-prices, bring the CSV
# files up to date, make the table. Look at the difference before committing.
catalogue:
	@mkdir -p build/catalogue
	rm -rf build/catalogue/*
	cd build/catalogue && npm pack --silent @pydantic/genai-prices && tar xzf *.tgz
	node pricing/catalogue/from_genai_prices.mjs snapshot build/catalogue/package
	node pricing/catalogue/from_genai_prices.mjs merge
	perl pricing/catalogue/make_table.pl > build/catalogue/price_shipped_data.h
	mv build/catalogue/price_shipped_data.h pricing/price_shipped_data.h
	node pricing/catalogue/agreement.mjs build/catalogue/package > build/catalogue/pricing_agreement_data.h
	mv build/catalogue/pricing_agreement_data.h test/unit/pricing_agreement_data.h
	node pricing/catalogue/from_genai_prices.mjs check

.PHONY: catalogue

# The table is included by one file only, and objects do not know their headers.
pricing/price_shipped.o: pricing/price_shipped_data.h

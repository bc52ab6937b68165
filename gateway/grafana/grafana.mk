# Grafana's TypeScript types -> test/grafana/schema.json, which the dashboards are
# checked against without a network. The versions are those of package-lock.json.

grafana-schema:
	@mkdir -p build/grafana
	rm -rf build/grafana/*
	cp test/grafana/package.json test/grafana/package-lock.json test/grafana/tsconfig.json test/grafana/dashboard.ts build/grafana
	cd build/grafana && npm ci --silent --ignore-scripts && \
		node_modules/.bin/ts-json-schema-generator --path dashboard.ts --type Grafana --tsconfig tsconfig.json --expose none --minify -o schema.json
	mv build/grafana/schema.json test/grafana/schema.json

.PHONY: grafana-schema

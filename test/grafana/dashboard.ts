// The types of Grafana that gateway/grafana is checked against: a dashboard, and
// options and custom field settings of each kind of panel it uses. make
// grafana-schema turns them into schema.json (@grafana/schema, Apache 2.0).
import type { Dashboard } from '@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen';
import type { Options as TimeSeriesOptions, FieldConfig as TimeSeriesFieldConfig } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { Options as TableOptions, FieldConfig as TableFieldConfig } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as BarGaugeOptions } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
export interface Grafana {
	dashboard: Dashboard;
	timeseries: { options: TimeSeriesOptions; custom: TimeSeriesFieldConfig };
	stat: { options: StatOptions; custom: Record<string, never> };
	table: { options: TableOptions; custom: TableFieldConfig };
	bargauge: { options: BarGaugeOptions; custom: Record<string, never> };
}

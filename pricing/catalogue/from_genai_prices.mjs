// Bring pricing/catalogue/ up to date from the npm package @pydantic/genai-prices.
//
//   node from_genai_prices.mjs snapshot PACKAGE_DIR   package -> genai-prices.json
//   node from_genai_prices.mjs merge [YYYY-MM-DD]     genai-prices.json -> prices.csv, aliases.csv
//   node from_genai_prices.mjs check                  fail if a shipped price contradicts it and no note says why
//                                                     (a note that names genai-prices)
//
// Ids are for ever: a row that is there keeps its id. A rate that changed at the
// source without a date of its own closes the old row and opens a new one at the
// given date (today's, UTC); so history is never rewritten. Rows of our own, and
// rows the source no longer has, stay as they are. What the source cannot say
// (batch, priority and regional multipliers, one-hour writes on clouds) comes
// from overrides.json, with a note.
import fs from 'fs';
import path from 'path';
import { fileURLToPath } from 'url';

const dir = path.dirname(fileURLToPath(import.meta.url));
const file = (name) => path.join(dir, name);

// source's provider -> ours; the order is that of the ids they get first
const PROVIDERS = {
  anthropic: 'anthropic', openai: 'openai', google: 'google', mistral: 'mistral', deepseek: 'deepseek',
  'x-ai': 'xai', cohere: 'cohere', moonshotai: 'moonshotai', azure: 'azure', aws: 'aws', groq: 'groq',
  cerebras: 'cerebras', fireworks: 'fireworks', together: 'together', perplexity: 'perplexity',
  zai: 'zai', minimax: 'minimax', voyageai: 'voyage',
};
const RATES = {
  input_mtok: 'input', cache_read_mtok: 'cache_read', cache_write_mtok: 'cache_write',
  cache_write_1h_mtok: 'cache_write_1h', output_mtok: 'output', output_reasoning_mtok: 'reasoning',
  input_audio_mtok: 'input_audio', cache_audio_read_mtok: 'cache_read_audio', output_audio_mtok: 'output_audio',
  input_image_mtok: 'input_image', output_image_mtok: 'output_image', web_searches_kcount: 'web_search',
  storage_searches_kcount: 'file_search', requests_kcount: 'per_request',
};
const RATE_COLUMNS = ['input', 'cache_read', 'cache_write', 'cache_write_1h', 'output', 'reasoning', 'input_audio',
  'cache_read_audio', 'output_audio', 'input_image', 'output_image', 'web_search', 'file_search', 'per_request'];
const COLUMNS = ['id', 'provider', 'model', 'match', 'tier', 'context', 'from', 'to', 'window', ...RATE_COLUMNS,
  'multipliers', 'source', 'note'];
const KEY = ['provider', 'model', 'match', 'tier', 'context', 'from', 'window'];

// ---- CSV

function readCsv(name) {
  const [head, ...lines] = fs.readFileSync(file(name), 'utf8').split('\n').filter((l) => l !== '');
  return lines.map((line) => {
    const f = [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((m) => m[1]?.replaceAll('""', '"') ?? m[2] ?? '');
    return Object.fromEntries(head.split(',').map((c, i) => [c, f[i] ?? '']));
  });
}

function writeCsv(name, columns, rows) {
  const cell = (v) => (/[",]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
  fs.writeFileSync(file(name), [columns.join(','), ...rows.map((r) => columns.map((c) => cell(String(r[c] ?? ''))).join(','))].join('\n') + '\n');
}

// ---- the package

async function snapshot(packageDir) {
  const { findProvider } = await import(path.resolve(packageDir, 'dist/index.js'));
  const { version } = JSON.parse(fs.readFileSync(path.join(packageDir, 'package.json')));
  const providers = Object.keys(PROVIDERS).map((id) => {
    const p = findProvider({ providerId: id });
    const models = p.models.map((m) => ({ id: m.id, match: m.match, prices: m.prices }));
    return { id, url: p.pricing_urls?.[0] ?? '', models };
  });
  const text = providers.map((p) =>
    `{"id": "${p.id}", "url": "${p.url}", "models": [\n${p.models.map((m) => ' ' + JSON.stringify(m)).join(',\n')}\n]}`).join(',\n');
  fs.writeFileSync(file('genai-prices.json'), `{"package": "@pydantic/genai-prices", "version": "${version}", "license": "MIT",\n"providers": [\n${text}\n]}\n`);
}

// ---- names

function matches(match, name) {
  if (match.or) return match.or.some((m) => matches(m, name));
  if (match.and) return match.and.every((m) => matches(m, name));
  if (match.regex) return new RegExp(match.regex).test(name);
  if (match.equals) return name.toLowerCase() === match.equals.toLowerCase();
  if (match.starts_with) return name.toLowerCase().startsWith(match.starts_with.toLowerCase());
  if (match.ends_with) return name.toLowerCase().endsWith(match.ends_with.toLowerCase());
  return name.toLowerCase().includes(match.contains.toLowerCase());
}

// what pricing/price_match.c cuts off a deployment's name
function bare(name, ours) {
  for (let before = ''; before !== name;) {
    before = name;
    name = name.replace(/-latest$/, '').replace(/@.*$/, '').replace(/-20\d\d-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])$/, '')
      .replace(/:\d+$/, '').replace(/-0\d\d$/, '');
    if (ours === 'aws') name = name.replace(/-v\d\d?$/, '');
  }
  return name;
}

function leaves(match) {
  if (match.or || match.and) return (match.or ?? match.and).flatMap(leaves);
  return match.regex ? [] : [match];
}

// The exact names that mean a model, the model's own first, and prefixes for
// the previews that come and go under one price.
function namesOf(provider, ours, model) {
  const own = (name) => provider.models.find((m) => matches(m.match, name)) === model;
  const exact = [];
  const prefixes = [];
  const add = (name) => { if (name !== '' && !exact.includes(name)) exact.push(name); };
  const id = model.id.toLowerCase().replace(/^regional\./, '');
  const short = bare(id, ours);

  // `bare` only if nobody else has it
  if (short !== id && (own(short) || (ours === 'aws' && !provider.models.some((m) => m !== model && matches(m.match, short))))) add(short);
  if (own(id) || ours === 'aws') add(id);
  for (const leaf of leaves(model.match)) {
    if (leaf.equals) { add(leaf.equals.toLowerCase()); continue; }
    const text = (leaf.starts_with ?? leaf.contains ?? '').toLowerCase();
    if (ours === 'aws') {
      if (/^(us|eu|jp|au|apac|us-gov|in|ca)\./.test(text)) continue;   // regional endpoints share the plain name
      add(bare(text, ours));
    } else if (text.startsWith('ft:') && !model.id.startsWith('ft:')) continue;
    else if (/-20\d\d-?$/.test(text)) add(text.replace(/-20\d\d-?$/, ''));
    else if (leaf.starts_with && /preview|-exp/.test(text)) { add(text); prefixes.push(text); }
    else add(text.replace(/[-@.]$/, ''));
  }
  const names = exact.filter((n) => !/[^\x21-\x7e]/.test(n) && !n.endsWith('-') && (ours === 'aws' || own(n) || own(n + '-20250101') || own(n + '-2024-08-06') || own(n + '@20250101')));
  return { names, prefixes: prefixes.filter((p) => own(p + '-x')) };
}

// ---- prices

const decimal = (n) => { const s = String(n); return /e/.test(s) ? n.toFixed(12).replace(/0+$/, '') : s; };

function contextOf(start) {
  return start % 1000 === 999 ? `>=${start + 1}` : `>${start}`;
}

// one set of prices -> rows by prompt size
function contextRows(prices) {
  const starts = [...new Set(Object.values(prices).flatMap((p) => (p?.tiers ?? []).map((t) => t.start)))].sort((a, b) => a - b);
  const left = Object.keys(prices).filter((k) => !RATES[k]);
  const note = left.length ? 'not counted: ' + left.join(' ') : '';
  return [null, ...starts].map((start) => {
    const row = { context: start === null ? '' : contextOf(start), note };
    for (const [key, column] of Object.entries(RATES)) {
      const p = prices[key];
      if (p === undefined || p === null) continue;
      row[column] = decimal(typeof p === 'number' ? p : p.tiers.filter((t) => start !== null && t.start <= start).reduce((_, t) => t.price, p.base));
    }
    if (Object.keys(prices).length === 0) Object.assign(row, { input: '0', output: '0' });   // free
    return row;
  });
}

// a model's prices -> rows by time, each in effect from..to or in a daily window
function timeRows(prices) {
  if (!Array.isArray(prices)) return contextRows(prices).map((r) => ({ from: '', to: '', window: '', ...r }));
  const plain = prices.filter((p) => p.constraint?.type !== 'time_of_date');
  const daily = prices.filter((p) => p.constraint?.type === 'time_of_date');
  const since = (p) => p.constraint?.start_date ?? '';
  const rows = plain.flatMap((p, i) => contextRows(p.prices).map((r) => ({ from: since(p), to: plain[i + 1] ? since(plain[i + 1]) : '', window: '', ...r })));
  const minute = (t) => t.slice(0, 5);
  const last = plain[plain.length - 1];
  for (const p of daily) {
    // a window listed after a dated price belongs to that price
    const from = prices.indexOf(p) > prices.indexOf(last) ? since(last) : '';
    rows.push(...contextRows(p.prices).map((r) => ({ from, to: '', window: `${minute(p.constraint.start_time)}-${minute(p.constraint.end_time)}`, ...r })));
  }
  return rows;
}

function usable(row) { return RATE_COLUMNS.slice(0, 11).some((c) => row[c] !== undefined); }

// All rows and aliases that the snapshot and overrides.json call for.
function wanted() {
  const source = JSON.parse(fs.readFileSync(file('genai-prices.json')));
  const overrides = JSON.parse(fs.readFileSync(file('overrides.json')));
  const shipped = new Set(readCsv('prices.csv').map((r) => `${r.provider} ${r.model}`));
  const rows = [];
  const aliases = [];
  const skipped = [];
  for (const provider of source.providers) {
    const ours = PROVIDERS[provider.id];
    const taken = new Set();
    const models = provider.models.map((model) => ({ model, ...namesOf(provider, ours, model) }));
    for (const { model, names, prefixes } of models) {
      const free = names.filter((n) => !taken.has(n));
      const prices = timeRows(model.prices).filter(usable);
      if (free.length === 0 || prices.length === 0) { skipped.push(`${ours} ${model.id}: ${free.length === 0 ? 'no name of its own' : 'no price per token'}`); continue; }
      free.forEach((n) => taken.add(n));
      const name = free.find((n) => shipped.has(`${ours} ${n}`)) ?? free[0];   // ids stay with the name they came with
      const others = free.filter((n) => n !== name);
      const where = `${provider.url.replace(/^https?:\/\/(www\.)?/, '') || ours} (genai-prices ${source.version})`;
      for (const p of prices) {
        const base = { provider: ours, tier: 'standard', source: where, ...p };
        rows.push({ ...base, model: name, match: 'exact' });
        for (const prefix of prefixes) rows.push({ ...base, model: prefix, match: 'prefix' });
      }
      for (const alias of others) aliases.push({ provider: ours, alias, model: name });
    }
  }
  for (const a of overrides.aliases) aliases.push(a);
  for (const row of rows) for (const rule of overrides.rules) applyRule(rule, row);
  for (const row of overrides.rows) rows.push({ match: 'exact', tier: 'standard', context: '', from: '', to: '', window: '', note: '', ...row });
  const names = new Set(rows.filter((r) => r.match === 'exact').map((r) => `${r.provider} ${r.model}`));
  const seen = new Set();
  const tidy = aliases.filter((a) => {
    const key = `${a.provider} ${a.alias}`;
    if (names.has(key) || seen.has(key) || !names.has(`${a.provider} ${a.model}`)) return false;
    seen.add(key);
    // found without an alias, by cutting off its suffix
    return bare(a.alias, a.provider) !== a.model || a.alias === a.model;
  });
  return { rows, aliases: tidy, skipped };
}

// {provider, model: regex, multipliers | note | rates derived from another}
function applyRule(rule, row) {
  if (!rule.providers.includes(row.provider) || !new RegExp(rule.model).test(row.model)) return;
  if (rule.multipliers) row.multipliers = [row.multipliers, rule.multipliers].filter(Boolean).join(' ');
  if (rule.cache_write_1h_of_input && row.cache_write !== undefined && row.cache_write_1h === undefined)
    row.cache_write_1h = decimal(Number((Number(row.input) * rule.cache_write_1h_of_input).toPrecision(12)));
  else if (rule.cache_write_1h_of_input) return;
  if (rule.note && !row.note?.includes(rule.note)) row.note = [row.note, rule.note].filter(Boolean).join('; ');
}

const keyOf = (row) => KEY.map((c) => row[c] ?? '').join('|');
const ratesOf = (row) => [...RATE_COLUMNS.map((c) => row[c] ?? ''), row.multipliers ?? ''].join('|');

// ids.csv remembers what each id was given to; a test holds prices.csv to it.
function keepIds(rows) {
  const known = fs.existsSync(file('ids.csv')) ? readCsv('ids.csv') : [];
  const ids = new Set(known.map((r) => r.id));
  writeCsv('ids.csv', ['id', ...KEY], [...known, ...rows.filter((r) => !ids.has(r.id))]);
}

function merge(today) {
  const have = readCsv('prices.csv');
  const { rows, aliases, skipped } = wanted();
  const byKey = new Map(have.map((r) => [keyOf(r), r]));
  let next = Math.max(0, ...have.map((r) => Number(r.id))) + 1;
  const report = { kept: 0, added: 0, changed: 0, unknown: 0 };
  const touched = new Set();

  for (const row of rows) {
    let old = byKey.get(keyOf(row));
    while (old?.to && ratesOf(old) !== ratesOf(row) && byKey.get(keyOf({ ...row, from: old.to }))) old = byKey.get(keyOf({ ...row, from: old.to }));
    if (!old) {
      have.push({ ...row, id: String(next++) });
      report.added++;
    } else if (ratesOf(old) === ratesOf(row)) {
      if (!old.note) old.note = row.note ?? '';
      if (!old.to) old.to = row.to ?? '';
      report.kept++;
      touched.add(old);
    } else {
      old.to = today;
      have.push({ ...row, from: today, id: String(next++) });
      report.changed++;
      touched.add(old);
    }
  }
  report.unknown = have.length - rows.length;
  writeCsv('prices.csv', COLUMNS, have.sort((a, b) => a.id - b.id));
  keepIds(have);
  writeCsv('aliases.csv', ['provider', 'alias', 'model'], aliases.sort((a, b) => (`${a.provider} ${a.alias}` < `${b.provider} ${b.alias}` ? -1 : 1)));
  console.log(report);
  for (const s of skipped) console.log('skipped', s);
}

// Every price the source has must be shipped with the same rates, or with a note.
function check() {
  const have = readCsv('prices.csv');
  const { rows } = wanted();
  let failed = 0;
  for (const row of rows) {
    const same = have.filter((r) => ['provider', 'model', 'match', 'tier', 'context', 'window'].every((c) => (r[c] ?? '') === (row[c] ?? '')));
    const now = same.filter((r) => ratesOf(r) === ratesOf(row) || r.note.includes('genai-prices'));
    if (now.length === 0) {
      failed++;
      console.log(`${same.length ? 'contradicts' : 'is missing'}: ${keyOf(row)}: source has ${ratesOf(row)}, shipped ${same.map(ratesOf).join(' and ') || 'nothing'}`);
    }
  }
  console.log(`${rows.length} prices of the source, ${failed} contradicted without a note`);
  process.exitCode = failed ? 1 : 0;
}

const [command, argument] = process.argv.slice(2);
if (command === 'snapshot' && argument) await snapshot(argument);
else if (command === 'merge') merge(argument ?? new Date().toISOString().slice(0, 10));
else if (command === 'check') check();
else { console.error('usage: from_genai_prices.mjs snapshot PACKAGE_DIR | merge [DATE] | check'); process.exitCode = 2; }

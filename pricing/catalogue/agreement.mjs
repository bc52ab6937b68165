// What @pydantic/genai-prices says a few thousand generated usages cost, for
// every name of a model that both catalogues know:
//
//   node agreement.mjs PACKAGE_DIR > test/unit/pricing_agreement_data.h
//
// test/unit/pricing_agreement.c prices the same usages and explains each
// difference. The usages are the same in every run.
import fs from 'fs';
import path from 'path';
import { fileURLToPath } from 'url';

const dir = path.dirname(fileURLToPath(import.meta.url));
const packageDir = path.resolve(process.argv[2]);
const { calcPrice } = await import(path.join(packageDir, 'dist/index.js'));
const { version } = JSON.parse(fs.readFileSync(path.join(packageDir, 'package.json')));
const THEIRS = { xai: 'x-ai', voyage: 'voyageai' };
const USAGES_PER_NAME = 4;

const csv = (name) => {
  const [head, ...lines] = fs.readFileSync(path.join(dir, name), 'utf8').trim().split('\n');
  return lines.map((l) => {
    const f = [...l.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((m) => m[1] ?? m[2] ?? '');
    return Object.fromEntries(head.split(',').map((c, i) => [c, f[i] ?? '']));
  });
};

let state = 20250101n;                    // a fixed seed
function random(n) {                      // 0 .. n-1
  state = (state * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
  return Number((state >> 33n) % BigInt(n));
}
const tokens = () => [0, random(200), random(20000), random(20000), 60000 + random(300000)][random(5)];

const prices = csv('prices.csv').filter((r) => r.match === 'exact');
const byModel = new Map();
for (const r of prices) byModel.set(`${r.provider} ${r.model}`, r);
const names = [...byModel.values()].map((r) => ({ provider: r.provider, name: r.model, row: r }));
for (const a of csv('aliases.csv')) names.push({ provider: a.provider, name: a.alias, row: byModel.get(`${a.provider} ${a.model}`) });

let unknown = 0;
const out = [];
for (const { provider, name, row } of names) {
  for (let i = 0; i < USAGES_PER_NAME; i++) {
    const u = { input: tokens(), read: tokens(), write: random(3) ? 0 : tokens(), hour: random(3) ? 0 : tokens(), output: row.output ? tokens() : 0,
      reasoning: 0, audio: 0, cachedAudio: 0, image: 0, searches: row.web_search ? random(4) : 0 };
    if (row.reasoning) u.reasoning = random(u.output + 1);
    if (row.input_audio) u.audio = random(u.input + 1);
    if (row.cache_read_audio) u.cachedAudio = random(u.read + 1);
    const at = new Date(Date.UTC(2024 + random(4), random(12), 1 + random(28), random(24), random(60)));
    const usage = { input_tokens: u.input + u.read + u.write + u.hour, cache_read_tokens: u.read, cache_write_tokens: u.write + u.hour,
      cache_write_1h_tokens: u.hour, output_tokens: u.output };
    if (row.reasoning) usage.output_reasoning_tokens = u.reasoning;
    if (u.audio + u.cachedAudio) Object.assign(usage, { input_audio_tokens: u.audio + u.cachedAudio, cache_audio_read_tokens: u.cachedAudio });
    if (u.searches) usage.web_searches = u.searches;
    let price = null;
    try { price = calcPrice(usage, name, { providerId: THEIRS[provider] ?? provider, timestamp: at }); } catch (e) { unknown++; continue; }
    if (price === null) { unknown++; continue; }
    out.push(`\t{"${provider}", "${name}", INT64_C(${at.getTime()}000), {${[u.input, u.read, u.write, u.hour, u.output, u.reasoning, u.audio, u.cachedAudio, 0, 0, 0, u.searches, 0].join(', ')}}, ${price.total_price}},`);
  }
}
console.log(`/* Made by pricing/catalogue/agreement.mjs with @pydantic/genai-prices ${version} (MIT): do not edit.
 * ${out.length} usages of ${names.length} names; ${unknown} more that genai-prices does not price. */
static const struct agreement agreements[] = {\n${out.join('\n')}\n};`);

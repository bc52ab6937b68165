// The dashboard in a real browser, against a real gateway and cluster. Prints
// TAP. Started by test/t/080_dashboard.pl, which tells by environment:
//	DASHBOARD_URL	http://127.0.0.1:PORT
//	LOGIN_LINK		a command that prints a one-time link (arguments may follow)
//	PSQL			a command that runs the SQL on its standard input
//	PG_STOP, PG_START	commands
//	ZONE, ZONE_DAY	a zone, and a day on which its clock is put back or forward
//	NARROW_URL		a gateway of the same database whose answers hold few rows, open to all
//	SHOTS			where pictures go; empty: nowhere
import { execSync } from "node:child_process";
import http from "node:http";
import { createRequire } from "node:module";
import * as f from "../../gateway/dashboard/format.js";
import { bucketAt, buckets } from "../../gateway/dashboard/zone.js";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const { DASHBOARD_URL, LOGIN_LINK, PSQL, PG_STOP, PG_START, ZONE, ZONE_DAY, NARROW_URL, SHOTS } = process.env;
const WAIT = 60000;

let n = 0;
let failures = 0;
function ok(condition, name, detail) {
  console.log(`${condition ? "ok" : "not ok"} ${++n} - ${name.replaceAll("#", "")}`);
  if (!condition) {
    failures++;
    if (detail !== undefined) console.log("# " + JSON.stringify(detail));
  }
}
const is = (got, wanted, name) => ok(JSON.stringify(got) === JSON.stringify(wanted), name, { got, wanted });

const sh = (command, input) => execSync(command, { input: input ?? "", encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] }).trim();
const sql = (query) => sh(PSQL, query);
const link = (more = "") => sh(LOGIN_LINK + " " + more);

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const troubles = []; // what no page may do

// A page in a browser of its own; watched: its console has to stay empty.
async function open(options = {}, watched = true) {
  const context = await browser.newContext({ viewport: { width: 1300, height: 900 }, timezoneId: "UTC", locale: "en-US", ...options });
  const page = await context.newPage();
  await page.addInitScript(() => document.addEventListener("securitypolicyviolation", (e) => console.error("policy: " + e.violatedDirective)));
  page.on("dialog", (d) => { troubles.push("dialog " + d.message()); d.dismiss(); });
  page.on("pageerror", (e) => troubles.push("error " + e.message));
  if (watched) page.on("console", (m) => ["error", "warning"].includes(m.type()) && troubles.push(m.text() + " " + page.url()));
  page.setDefaultTimeout(WAIT);
  return page;
}

async function signIn(page, url) {
  await page.goto(url);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/metrics\/dashboard$/);
}

// Everything the page asked for is there.
async function settled(page) {
  await page.waitForFunction(() => {
    const busy = [...document.querySelectorAll("[role=status]")].some((s) => !s.hidden && s.textContent.startsWith("Loading"));
    return !busy && !document.querySelector("main.stale") && /^Data as of|^No requests/.test(document.getElementById("status").textContent);
  });
}
async function show(page, query) {
  await page.goto(page.url().replace(/\/metrics\/dashboard.*/, "/metrics/dashboard") + query);
  await settled(page);
}

const tile = (page, name) => page.locator("#tiles > div").filter({ has: page.locator("dt", { hasText: new RegExp("^" + name + "$") }) }).locator(".value").textContent();
const range = (page) => page.evaluate(() => performance.getEntriesByType("resource").map((e) => e.name).filter((u) => u.includes("total=true")).at(-1))
  .then(async (url) => { const a = await page.evaluate((u) => fetch(u).then((r) => r.json()), url); return { from: a.start_time, to: a.end_time }; });
const between = ({ from, to }) => `ts >= '${from}' AND ts < '${to}'`;

// ------------------------------------------------------------------ signing in

{
  const page = await open({}, false);
  await page.goto(DASHBOARD_URL + "/metrics/dashboard");
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("not signed in"));
  ok(true, "without a session the page says so");
  const once = link();
  const response = await page.goto(once);
  is(response.status(), 200, "a link asks to confirm");
  is((await page.context().cookies()).length, 0, "looking at it signs nobody in");
  await page.goto(once);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/metrics\/dashboard$/);
  const [cookie] = await page.context().cookies();
  ok(cookie.httpOnly && cookie.sameSite === "Lax" && cookie.path === "/", "pressing the button sets a cookie that no script reads", cookie);
  await page.goto(once);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForFunction(() => document.body.textContent.includes("has been used"));
  ok(true, "the link works once");
  await page.goto(DASHBOARD_URL + "/metrics/dashboard/login?t=%22%3E%3Cscript%3Ealert(1)%3C/script%3E");
  ok(!(await page.content()).includes("alert(1)"), "what is no link is not shown");
  await page.context().close();
}

const page = await open();
await signIn(page, link());
await settled(page);

// ---------------------------------------------------- numbers are those of SQL

for (const query of ["?period=30d", "?period=7d&tz=Asia/Kolkata", "?period=24h&tz=America/New_York", "?period=6h", "?period=1h"]) {
  await show(page, query);
  const r = await range(page);
  const [requests, failed, tokens, cost, limited] = sql(`SELECT count(*), count(*) FILTER (WHERE state = 'failed'), coalesce(sum(total_tokens), 0), sum(total_cost),
    count(*) FILTER (WHERE status_code = 429) FROM ccproxy.requests WHERE ${between(r)}`).split("|");
  is(await tile(page, "Requests"), f.count(requests), `${query}: requests`);
  is(await tile(page, "Cost"), f.dollars(cost === "" ? null : cost), `${query}: cost`);
  is(await tile(page, "Rate limited"), f.count(limited), `${query}: rate limited`);
  is(await tile(page, "Tokens per second"), f.rate(tokens / ((Date.parse(r.to) - Date.parse(r.from)) / 1000)), `${query}: tokens per second`);
  ok((await page.locator("#tiles").textContent()).includes(f.count(failed) + " failed"), `${query}: failed`);
  if (requests === "0") continue;
  const charts = await page.locator("#charts .legend").evaluateAll((all) => all.map((l) => [...l.querySelectorAll("b")].map((b) => b.textContent)));
  is(charts[0].reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0), Number(requests), `${query}: the chart's sum is the headline`);
  const foot = await page.locator("#table tfoot td:not(.wide-only)").allTextContents();
  is([foot[0], foot.at(-1)], [f.count(requests), f.dollars(cost === "" ? null : cost)], `${query}: the table's sum is the headline`);
}

for (const [tab, column] of [["User", "user_id"], ["Team", "team_id"], ["Endpoint", "endpoint_type"], ["Status", "status_code"], ["API key", "api_key_hash"]]) {
  await show(page, "?period=30d");
  await page.getByRole("tab", { name: tab, exact: true }).click();
  await settled(page);
  const r = await range(page);
  const [value, count] = sql(`SELECT coalesce(${column}::text, 'none'), count(*) FROM ccproxy.requests WHERE ${between(r)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1`).split("|");
  const row = page.locator("#table tbody tr").first();
  is([await row.locator("th button").textContent(), await row.locator("td:not(.wide-only)").first().textContent()], [value, f.count(count)], `by ${tab}: the first row`);
  await row.locator("th button").click();
  await settled(page);
  is(await tile(page, "Requests"), f.count(count), `... and a click on it filters`);
  ok((await page.locator("#chips").textContent()).includes(value), "... which is said above");
}

// -------------------------------------------------------------------- filters

for (const [key, condition] of [["model", "model = $"], ["user", "user_id = $"], ["team", "team_id = $"], ["api_key", "api_key_hash = $"], ["endpoint", "endpoint_type = $"],
  ["status", "status_code = $::integer"], ["error_type", "error_type = $"], ["state", "state = $"], ["session", "session_id = $"], ["provider", "provider = $"], ["method", "method = $"], ["service_tier", "service_tier = $"]]) {
  await show(page, "?period=30d");
  const r = await range(page);
  const expression = condition.split(" = ")[0];
  const value = sql(`SELECT ${expression} FROM ccproxy.requests WHERE ${between(r)} AND ${expression} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1`);
  await page.getByText("Add filter").click();
  await page.locator("#filter-key").selectOption(key);
  await page.locator("#filter-value").fill(value);
  await page.locator("#filter-form button").click();
  await settled(page);
  const literal = `$q$${value}$q$`;
  is(await tile(page, "Requests"), f.count(sql(`SELECT count(*) FROM ccproxy.requests WHERE ${between(r)} AND ${condition.replace("$", () => literal)}`)), `filter ${key}`);
  ok(new URL(page.url()).searchParams.get(key) === value, "... is in the address");
  if (key === "model" || key === "user") { // which statuses are known of by the rollups, and by the requests alone
    const limited = f.count(sql(`SELECT count(*) FROM ccproxy.requests WHERE ${between(r)} AND status_code = 429 AND ${condition.replace("$", () => literal)}`));
    await page.waitForFunction((n) => [...document.querySelectorAll("#tiles dt")].find((dt) => dt.textContent === "Rate limited").nextSibling.textContent === n, limited);
    ok(true, "... and counts what was rate limited");
  }
}
await page.goBack();
await settled(page);
is(await page.locator("#chips li").count(), 0, "the back button takes the filter away");
await page.goForward();
await settled(page);
is(await page.locator("#chips li").count(), 1, "forward puts it back");
await page.locator("#clear-filters").click();
await settled(page);
is(await page.locator("#chips li").count(), 0, "all can be cleared");

// --------------------------------------------------------- ranges and zones

await show(page, "?period=7d");
{
  const box = await page.locator("#charts .u-over").first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await settled(page);
  const u = new URL(page.url());
  ok(u.searchParams.has("from") && u.searchParams.has("to"), "dragging over a chart chooses a range");
  const r = { from: u.searchParams.get("from"), to: u.searchParams.get("to") };
  is(await tile(page, "Requests"), f.count(sql(`SELECT count(*) FROM ccproxy.requests WHERE ${between(r)}`)), "... of whole buckets, and counts it");
  await page.goBack();
  await settled(page);
  is(await page.locator("#periods [aria-pressed=true]").textContent(), "7 d", "... and the back button leads out again");
}
{
  await show(page, `?tz=${encodeURIComponent(ZONE)}`);
  const [y, m, d] = ZONE_DAY.split("-").map(Number);
  const day = (k) => new Date(Date.UTC(y, m - 1, d + k)).toISOString().slice(0, 10);
  await page.locator("#custom-label").click();
  await page.locator("#range-from").fill(day(-5) + "T00:00");
  await page.locator("#range-to").fill(day(5) + "T00:00");
  await page.locator("#range-form button").click();
  await settled(page);
  await page.locator("#charts summary").first().click();
  await page.locator("#charts table").first().waitFor();
  const rows = await page.locator("#charts table").first().locator("tbody tr").evaluateAll((all) => all.map((tr) => [...tr.querySelectorAll("td")].map((td) => Number(td.textContent.replaceAll(",", "")))));
  const expected = sql(`SELECT string_agg(coalesce(n, 0)::text, ' ' ORDER BY day) FROM generate_series('${day(-5)}'::timestamp, '${day(4)}', '1 day') AS day
    LEFT JOIN (SELECT date_trunc('day', ts AT TIME ZONE '${ZONE}') AS day, count(*) AS n FROM ccproxy.requests GROUP BY 1) AS x USING (day)`).split(" ").map(Number);
  is(rows.map((cells) => cells.reduce((a, v) => a + v, 0)), expected, `days of ${ZONE} over the change of its clock`);
}

// ------------------------------------------------------------------ one request

await show(page, "?period=30d&order=dearest");
{
  const [id, cost] = sql("SELECT request_id, total_cost FROM ccproxy.requests WHERE ts >= now() - interval '30 days' AND total_cost IS NOT NULL ORDER BY total_cost DESC, ts DESC, request_id DESC LIMIT 1").split("|");
  await page.locator("#requests tbody button").first().click();
  await page.waitForFunction(() => document.querySelector("#request-body tfoot"));
  ok((await page.locator("#request-body").textContent()).includes(id), "the dearest request opens");
  is(new URL(page.url()).searchParams.get("request"), id, "... with an address of its own");
  is(await page.locator("#request-body tfoot td").last().textContent(), f.dollarsExact(cost), "... and its cost");
  const lines = await page.locator("#request-body tbody td:last-child").allTextContents();
  const sum = lines.reduce((a, t) => a + Number(t.replaceAll(/[$,]/g, "")), 0);
  ok(lines.length > 0 && Math.abs(sum - Number(cost)) < 1e-9, "... the sum of its lines", { lines, cost });
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.getElementById("request").open);
  ok(!new URL(page.url()).searchParams.has("request"), "Escape closes it");
  await page.goto(page.url() + "&request=" + encodeURIComponent(id));
  await page.waitForFunction(() => document.querySelector("#request-body tfoot"));
  ok(true, "its address opens it again");
  await page.locator("#request-close").click();
}

// --------------------------------------------------------- hostile values, CSV

await show(page, "?period=30d&by=user");
ok((await page.locator("#table tbody").textContent()).includes("<img src=x onerror=alert(1)>"), "a user's name is text, whatever it says");
await show(page, "?period=30d&order=failed");
await page.locator("#requests tbody tr", { hasText: "<script>alert(2)</script>" }).first().locator("button").click();
await page.waitForFunction(() => document.querySelector("#request-body .facts"));
ok((await page.locator("#request-body").textContent()).includes("\"><svg onload=alert(3)>"), "so is an error's message");
await page.locator("#request-close").click();
await show(page, "?period=30d&by=user");
{
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#table .table-tools button").click()]);
  const text = await (await import("node:fs/promises")).readFile(await download.path(), "utf8");
  const lines = text.trim().split(/\r?\n/);
  const r = await range(page);
  is(lines.length - 1, Number(sql(`SELECT count(DISTINCT coalesce(user_id, '')) FROM ccproxy.requests WHERE ${between(r)}`)), "CSV has a line for each user");
  ok(lines.some((l) => l.includes("'=cmd|")), "a formula is defused");
}

// ------------------------------------------------ keyboard, themes, small screens

await show(page, "?period=7d");
await page.locator("#charts .plot").first().focus();
await page.keyboard.press("End");
await page.keyboard.press("ArrowLeft");
ok(/Successful/.test(await page.locator("#charts [aria-live]").first().textContent()), "arrow keys read a chart out");
await page.keyboard.press("Enter");
await settled(page);
ok(new URL(page.url()).searchParams.has("from"), "Enter shows the bucket alone");
await page.goBack();
await settled(page);
await page.locator("#tabs [aria-selected=true]").focus();
await page.keyboard.press("ArrowRight");
await settled(page);
is(await page.locator("#tabs [aria-selected=true]").textContent(), "User", "arrow keys go through the tables");
await page.keyboard.press("Tab");
await page.keyboard.type("user-1");
const names = await page.locator("#table tbody th button").allTextContents();
ok(names.length > 0 && names.every((t) => t.includes("user-1")), "the search is next, and searches", names.slice(0, 5));
await page.locator("#table thead button", { hasText: "Cost" }).focus();
await page.keyboard.press("Enter");
is(await page.locator("#table th[aria-sort]").textContent(), "Cost ↓", "headings sort");

async function accessible(p, name) {
  await p.evaluate(axe.source);
  const { violations } = await p.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  is(violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => [v.id, v.nodes[0].html.slice(0, 120)]), [], `axe: ${name}`);
}
{
  // axe is put into the page by the debugger's own world, which the policy of
  // trusted types would stop
  const context = await browser.newContext({ viewport: { width: 1300, height: 900 }, bypassCSP: true, storageState: await page.context().storageState() });
  const p = await context.newPage();
  await p.goto(DASHBOARD_URL + "/metrics/dashboard?period=30d");
  await settled(p);
  await accessible(p, "light");
  if (SHOTS) await p.screenshot({ path: SHOTS + "/dashboard-light.png" });
  await p.locator("#theme").selectOption("dark");
  is(await p.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(15, 19, 23)", "a dark theme can be chosen");
  await accessible(p, "dark");
  if (SHOTS) await p.screenshot({ path: SHOTS + "/dashboard-dark.png" });
  await p.locator("#requests tbody button").first().click();
  await p.waitForFunction(() => document.querySelector("#request-body tfoot"));
  await accessible(p, "a request");
  await context.close();
}
{
  const context = await browser.newContext({ viewport: { width: 360, height: 740 }, colorScheme: "dark", storageState: await page.context().storageState() });
  const p = await context.newPage();
  await p.goto(DASHBOARD_URL + "/metrics/dashboard?period=30d");
  await settled(p);
  is(await p.evaluate(() => document.documentElement.scrollWidth), 360, "360 pixels are enough");
  is(await p.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(15, 19, 23)", "dark as the system");
  if (SHOTS) await p.screenshot({ path: SHOTS + "/dashboard-360.png" });
  await p.getByText("Add filter").click();
  const form = await p.locator("#filter-form").boundingBox();
  ok(form.x >= 0 && form.x + form.width <= 360, "so that forms fit as well", form);
  await context.close();
}

// ------------------------------------------------------------ buckets of time

{
  const at = (text) => Date.parse(text);
  const day = buckets(at("2025-01-31T10:07:00Z"), at("2025-01-31T15:00:00Z"), "hour", "UTC");
  is([bucketAt(day, at("2025-01-31T10:00:00Z")), bucketAt(day, day[0].start), bucketAt(day, day[1].start - 1), bucketAt(day, day[1].start), bucketAt(day, at("2025-02-01T00:00:00Z"))],
    [0, 0, 0, 1, 4], "a moment has its bucket, and what begins before the first belongs to that");
  // half an hour forward on the way: the hours of the server begin elsewhere from then on
  const change = buckets(at("2025-10-04T12:00:00Z"), at("2025-10-04T18:00:00Z"), "hour", "Australia/Lord_Howe");
  ok(change.every((b, i) => bucketAt(change, b.start) === i && bucketAt(change, b.end - 1) === i), "so it has where clocks change by half an hour");
}

// ------------------------------------------------- more than an answer may hold

{
  const p = await open();
  await p.goto(NARROW_URL + "/metrics/dashboard?period=30d&by=user");
  await settled(p);
  const dollars = (text) => Number(text.replaceAll(/[$,]/g, ""));
  const legend = await p.locator("#charts .legend").last().locator("b").allTextContents();
  const off = legend.reduce((sum, text) => sum + dollars(text), 0) - dollars(await tile(p, "Cost"));
  ok(legend.length > 3 && Math.abs(off) <= 0.005 * (legend.length + 1), "more models over time than an answer may hold: the cost is whole, but for what is rounded");
  is(await p.locator("#table tfoot td:not(.wide-only)").first().textContent(), await tile(p, "Requests"), "... and so is the table, if without lines");
  troubles.splice(0, troubles.length, ...troubles.filter((t) => !/status of 400/.test(t)));
  await p.context().close();
}

// -------------------------------------------------------- live, and PostgreSQL away

await page.bringToFront();
await show(page, "?period=1h&session=live");
is(await tile(page, "Requests"), "0", "a filter that nothing passes shows nothing");
sql("INSERT INTO ccproxy.requests (request_id, ts, session_id, model, status_code) VALUES ('live-1', now() - interval '1 minute', 'live', 'gpt-4o', 200)");
await page.waitForFunction(() => document.querySelector("#tiles .value").textContent === "1", null, { polling: 200 });
ok(true, "a new request comes in by itself");
{
  await show(page, "?period=30d");
  await page.locator("#requests").getByRole("button", { name: "Show more" }).click();
  await page.waitForFunction(() => document.querySelectorAll("#requests tbody tr").length === 50);
  await page.locator("#table tbody button").nth(1).focus();
  const focused = await page.evaluate(() => {
    window.statusText = document.getElementById("status").firstChild;
    return document.activeElement.textContent;
  });
  sql("INSERT INTO ccproxy.requests (request_id, ts, session_id, model, status_code) VALUES ('live-2', now() - interval '1 second', 'live', 'gpt-4o', 200)");
  await page.waitForFunction(() => document.querySelector("#requests tbody button").dataset.focus === "live-2", null, { polling: 200 });
  is(await page.locator("#requests tbody tr").count(), 50, "a refresh keeps the rows that were asked for");
  is(await page.evaluate(() => document.activeElement.textContent), focused, "... and the focus where it was");
  ok(await page.evaluate(() => window.statusText === document.getElementById("status").firstChild && document.querySelector("#status [aria-live=off]").textContent !== ""),
    "... and only the clock moves on, which is not read out");
}
{
  const mark = troubles.length;
  const shown = await tile(page, "Requests");
  sh(PG_STOP);
  await page.waitForFunction(() => /away|cannot be read/.test(document.getElementById("status").textContent));
  ok(true, "PostgreSQL is stopped: the page says so");
  is(await tile(page, "Requests"), shown, "... and keeps what it showed");
  sh(PG_START);
  await settled(page);
  ok(true, "PostgreSQL is back: so are the numbers");
  // a failed request is told in the console by the browser itself
  troubles.splice(mark, troubles.length, ...troubles.slice(mark).filter((t) => !/status of 503/.test(t)));
}

// ---------------------------------------------------------------- a proxy's path

{
  const target = new URL(DASHBOARD_URL);
  const proxy = http.createServer((request, response) => {
    if (!request.url.startsWith("/llm/")) return response.writeHead(404).end();
    request.pipe(http.request({ host: target.hostname, port: target.port, method: request.method, path: request.url.slice(4), headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    }));
  }).listen(0, "127.0.0.1");
  await new Promise((done) => proxy.once("listening", done));
  const base = `http://127.0.0.1:${proxy.address().port}/llm/metrics/dashboard`;
  const p = await open();
  await signIn(p, link("--dashboard-url " + base));
  await settled(p);
  is(new URL(p.url()).pathname, "/llm/metrics/dashboard", "it works below a path of a proxy");
  await p.context().close();
  proxy.close();
}

// ------------------------------------------------------------------ budgets

sql("SELECT ccproxy.set_budget('everything', 1000000), ccproxy.set_budget('user-1', 0.000001, 'month', 'user', 'user-1')");
await show(page, "?period=7d");
await page.waitForFunction(() => document.querySelectorAll("#budgets .budgets > div").length === 2, null, { polling: 200 });
{
  const spent = sql("SELECT spent_usd FROM ccproxy.budget_status WHERE name = 'everything'");
  const text = await page.locator("#budgets").textContent();
  ok(text.includes(f.dollars(spent) + " of $1,000,000.00"), "budgets are shown", { text, spent });
  ok(Number(sql("SELECT spent_usd FROM ccproxy.budget_status WHERE name = 'user-1'")) === 0 || text.includes("exceeded"), "... and which are exceeded");
}

// ------------------------------------------------------------- limited to a user

{
  const p = await open();
  await signIn(p, link("--user user-1"));
  await settled(p);
  await show(p, "?period=30d&by=user");
  const r = await range(p);
  is(await p.locator("#table tbody th button").allTextContents(), ["user-1"], "a limited session sees its user");
  is(await tile(p, "Requests"), f.count(sql(`SELECT count(*) FROM ccproxy.requests WHERE user_id = 'user-1' AND ${between(r)}`)), "... and counts that user's");
  const asked = await p.evaluate(async (other) => Promise.all(["stats?period=30d&user=user-2", "requests?period=30d&user=user-2", "values?of=user", "../prometheus", "requests/" + other]
    .map((u) => fetch("api/" + u).then((a) => a.status))), sql("SELECT request_id FROM ccproxy.requests WHERE user_id = 'user-2' LIMIT 1"));
  is(asked, [403, 403, 403, 403, 404], "... and nothing of others");
  troubles.splice(0, troubles.length, ...troubles.filter((t) => !/status of 40[34]/.test(t)));
  await p.context().close();
}

// ------------------------------------------------------------- what it weighs

{
  const files = await page.evaluate(() => performance.getEntriesByType("resource").filter((e) => e.name.includes("/static/")).map((e) => e.name));
  let bytes = 0;
  for (const url of [page.url(), ...new Set(files)])
    bytes += await new Promise((done) => http.get(url, { headers: { "Accept-Encoding": "gzip" } }, (r) => { let k = 0; r.on("data", (b) => { k += b.length; }); r.on("end", () => done(k)); }));
  ok(files.length >= 10 && bytes < 120000, `the page and its ${files.length} files are ${bytes} bytes compressed`);
}
{
  await page.locator("#sign-out").click();
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("not signed in"));
  is((await page.context().cookies()).length, 0, "signing out takes the cookie away");
  troubles.splice(0, troubles.length, ...troubles.filter((t) => !/status of 401/.test(t)));
}

is(troubles, [], "no console message, no policy violation, no dialog");
await browser.close();
console.log(`1..${n}`);
process.exit(failures > 0 ? 1 : 0);

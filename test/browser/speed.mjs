// How fast the dashboard is in a real browser. Started by test/bench/dashboard,
// which tells by environment:
//	DASHBOARD_URL	http://127.0.0.1:PORT
//	LOGIN_LINK		a command that prints a one-time link
//	INGEST_TOKEN	for new events
//	ROUNDS			navigations, and refreshes, of each period
//	SERVERS			the processes of the gateway and of the postmaster
//	TICKS			of a second, in which the system counts CPU time
// Prints one line a figure: NAME<tab>MILLISECONDS, every round one.
//
//	usable PERIOD	from the start of a navigation, the browser's cache warm, until
//					tiles, charts and the table are drawn and nothing loads
//	headline PERIOD	the same, until the tiles and charts are drawn
//	refresh PERIOD	CPU of the gateway and of PostgreSQL for one refresh of the whole
//					page, after a new event, so that nothing is kept; one line a period
//	load PERIOD		the same for a navigation, which asks for what a refresh asks for
//					once a minute, too
//	slowest PERIOD	the longest answer of a refresh (x-response-time-ms)
import { execSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { DASHBOARD_URL, LOGIN_LINK, INGEST_TOKEN, ROUNDS, SERVERS, TICKS } = process.env;
const rounds = Number(ROUNDS);
const [gateway, postmaster] = SERVERS.split(" ");

// CPU milliseconds of the gateway and of every process of PostgreSQL
function cpu() {
  let ticks = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    try {
      const [, ppid, ...rest] = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
      if (pid === gateway || pid === postmaster || ppid === postmaster) ticks += Number(rest[9]) + Number(rest[10]);
    } catch { /* it has ended */ }
  }
  return (ticks * 1000) / Number(TICKS);
}

const post = (event) => fetch(DASHBOARD_URL + "/metrics/api/events", {
  method: "POST", headers: { "Content-Type": "application/json", Authorization: "Bearer " + INGEST_TOKEN }, body: JSON.stringify(event),
}).then((r) => { if (r.status !== 200) throw new Error("an event was answered " + r.status); });

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await (await browser.newContext({ viewport: { width: 1300, height: 900 }, timezoneId: "Europe/Berlin", locale: "en-US" })).newPage();
page.setDefaultTimeout(60000);

// In the page: notes when it first is so, as a frame with it has been shown.
await page.addInitScript(() => {
  const seen = (window.ccproxySeen = {});
  const look = () => {
    const main = document.getElementById("main");
    const status = document.getElementById("status");
    if (main && status && !main.classList.contains("stale") && /^Data as of/.test(status.textContent)) {
      const drawn = document.querySelectorAll("#charts canvas").length === 4 && document.querySelectorAll("#charts .legend b").length > 4;
      if (drawn && !seen.headline) seen.headline = performance.now();
      const busy = [...document.querySelectorAll("[role=status]")].some((s) => !s.hidden && s.textContent.startsWith("Loading"));
      if (drawn && !busy && document.querySelectorAll("#table tbody tr").length > 0) { seen.usable = performance.now(); return; }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
});

await page.goto(execSync(LOGIN_LINK, { encoding: "utf8" }).trim());
await page.getByRole("button", { name: "Sign in" }).click();
await page.waitForURL(/\/metrics\/dashboard$/);

let answers = [];
page.on("response", (r) => r.url().includes("/metrics/api/") && answers.push({ url: r.url(), status: r.status(), ms: Number(r.headers()["x-response-time-ms"]) }));

for (const period of ["24h", "7d", "30d"]) {
  for (let i = 0; i <= rounds; i++) {
    const last = page.waitForResponse((r) => r.url().includes("/budgets"));
    await page.goto(`${DASHBOARD_URL}/metrics/dashboard?period=${period}`);
    const seen = await page.waitForFunction(() => window.ccproxySeen.usable && window.ccproxySeen).then((h) => h.jsonValue());
    await last;
    if (i === 0) continue; // the browser's cache
    console.log(`usable ${period}\t${seen.usable.toFixed(1)}`);
    console.log(`headline ${period}\t${seen.headline.toFixed(1)}`);
  }
  // each after a new event, and when no answer is given from before any more (READER_REST_MAX_MS)
  const renewed = async (name, times, ask, note) => {
    const before = cpu();
    for (let i = 0; i < times; i++) {
      await post({ request_id: `${name}-${period}-${i}`, model: "model-1", user_id: "user-1", endpoint_type: "openai", method: "POST", status_code: 200, response_time_ms: 100, input_tokens: 5, output_tokens: 5 });
      await new Promise((done) => setTimeout(done, 1200));
      answers = [];
      const last = page.waitForResponse((r) => r.url().includes("/budgets"));
      await ask();
      await last;
      note(i === times - 1);
    }
    console.log(`${name} ${period}\t${((cpu() - before) / times).toFixed(1)}`);
  };
  await renewed("load", Math.ceil(rounds / 3), () => page.goto(`${DASHBOARD_URL}/metrics/dashboard?period=${period}`), () => {});
  await renewed("refresh", rounds, () => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))), (isLast) => {
    console.log(`slowest ${period}\t${Math.max(...answers.map((a) => a.ms))}`);
    if (process.env.DETAILS && isLast) for (const a of answers) console.error(`${a.status} ${a.ms} ms ${a.url.replace(DASHBOARD_URL, "")}`);
  });
}
await browser.close();

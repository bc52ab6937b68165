// The dashboard in Firefox as Debian has it: that it draws, shows the numbers of
// SQL, filters, opens a request, and breaks no policy. What it does in all detail
// is dashboard.mjs' concern. Prints TAP; started by test/t/080_dashboard.pl with
// the same environment.
import { execSync } from "node:child_process";
import { createRequire } from "node:module";
import * as f from "../../gateway/dashboard/format.js";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { firefox } = require("playwright-core");
const { DASHBOARD_URL, LOGIN_LINK, PSQL } = process.env;
const WAIT = 120000;

let n = 0;
let failures = 0;
function ok(condition, name, detail) {
  console.log(`${condition ? "ok" : "not ok"} ${++n} - ${name}`);
  if (condition) return;
  failures++;
  console.log("# " + JSON.stringify(detail));
}
const sh = (command, input) => execSync(command, { input: input ?? "", encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] }).trim();

const browser = await firefox.launch({ channel: "moz-firefox", executablePath: "/usr/bin/firefox-esr" });
const page = await (await browser.newContext({ viewport: { width: 1300, height: 900 }, timezoneId: "UTC", locale: "en-US" })).newPage();
page.setDefaultTimeout(WAIT);
const troubles = [];
page.on("pageerror", (e) => troubles.push("error " + e.message));
page.on("console", (m) => m.type() === "error" && troubles.push(m.text()));

const settled = () => page.waitForFunction(() => {
  const busy = [...document.querySelectorAll("[role=status]")].some((s) => !s.hidden && s.textContent.startsWith("Loading"));
  return !busy && !document.querySelector("main.stale") && /^Data as of|^No requests/.test(document.getElementById("status").textContent);
});

await page.goto(sh(LOGIN_LINK));
await page.getByRole("button", { name: "Sign in" }).click();
await page.waitForURL(/\/metrics\/dashboard$/);
ok(true, "a link signs in");
await page.goto(DASHBOARD_URL + "/metrics/dashboard?period=30d");
await settled();
const url = await page.evaluate(() => performance.getEntriesByType("resource").map((e) => e.name).filter((u) => u.includes("total=true")).at(-1));
const r = await page.evaluate((u) => fetch(u).then((a) => a.json()), url);
const counted = (more) => f.count(sh(PSQL, `SELECT count(*) FROM ccproxy.requests WHERE ts >= '${r.start_time}' AND ts < '${r.end_time}' ${more}`));
const requests = () => page.locator("#tiles .value").first().textContent();
ok(await requests() === counted(""), "the number of requests is SQL's", [await requests(), counted("")]);
const drawn = await page.evaluate(() => [...document.querySelectorAll("#charts canvas")].map((c) =>
  c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v !== 0)));
ok(drawn.length === 4 && drawn.every((d) => d), "four charts are drawn", drawn);
const model = await page.locator("#table tbody button").first().textContent();
await page.locator("#table tbody button").first().click();
await settled();
ok(await requests() === counted(`AND model = $q$${model}$q$`), "a click on a row filters", [model, await requests()]);
await page.locator("#requests tbody button").first().click();
await page.waitForFunction(() => document.querySelector("#request-body .facts"));
await page.keyboard.press("Escape");
await page.waitForFunction(() => !document.getElementById("request").open);
ok(true, "a request opens and closes");
await page.goBack();
await page.goBack();
await page.goBack();
await settled();
ok(await page.locator("#chips li").count() === 0, "the back button takes the filter away");
ok(troubles.length === 0, "no error on the console", troubles);
await browser.close();
console.log(`1..${n}`);
process.exit(failures > 0 ? 1 : 0);

import { readFile } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, loadTest, test, watched } from "./run";

/** The number of requests in the row of all steps. */
function requestsOf(page: Page) {
  return page.getByRole("row", { name: /^All steps/ }).getByRole("cell").nth(2);
}

/** Waits until there is something to see in charts and tables. */
async function busy(page: Page) {
  await expect(requestsOf(page)).not.toHaveText("0");
  await expect(page.locator(".moment").first()).toContainText(/\d:\d\d/);
}

const QUICKSTART = "manifests/samples/quickstart.yaml";
const TABS = ["Steps", "Failures", "Workers", "Answers", "Plan", "Log"];

/** Names and messages that a page that trusted them would run, or be led astray by. */
const HOSTILE = `<img src=x onerror="document.title='taken'"> <script>document.title='taken'</script> &amp; \u001b[31mred\u202e`;

test("a run is watched from its start to its verdict", async ({ page, start }, info) => {
  const { asked, complaints } = watched(page);
  const { address, origin, ended } = await start(QUICKSTART, "--demo-service");
  await page.goto(address);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("quickstart");
  expect(page.url()).toBe(`${origin}/`);
  const status = page.getByRole("status").first();
  await expect(status).toContainText("Running");
  await expect(status).toContainText("live");
  await expect(status).toContainText("so far 2 of 2 thresholds met");
  await expect(page.locator(".figures")).toContainText("20");
  await busy(page);
  const requests = requestsOf(page);
  await expect(requests).not.toHaveText((await requests.textContent()) ?? "");
  await expect(page.getByRole("row", { name: /^POST \/predict/ })).toBeVisible();
  await page.screenshot({ path: info.outputPath("running.png"), fullPage: true });

  await expect(status).toContainText("Passed", { timeout: 30_000 });
  await expect(status).toContainText("the run is over");
  await page.screenshot({ path: info.outputPath("over.png"), fullPage: true });
  expect(await ended).toBe(0);

  // the server is gone, and the page has all it needs
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "JSON" }).click();
  const file = await download;
  expect(file.suggestedFilename()).toMatch(/^quickstart-.*\.json$/);
  const result = JSON.parse(await readFile(await file.path(), "utf8"));
  expect(result.verdict).toBe("Passed");
  await expect(requests).toHaveText(new Intl.NumberFormat("en").format(result.totals.requests));
  for (const [name, beginning] of [
    ["HTML", "<!DOCTYPE html>"],
    ["CSV", "Type,Name,Request Count,"],
    ["CSV over time", "Timestamp,User Count,"],
    ["CSV of failures", "Method,Name,Error,"],
    ["JUnit", "<?xml "],
    ["Markdown", "#"],
  ] as const) {
    const download = page.waitForEvent("download");
    await page.getByRole("link", { name, exact: true }).click();
    const text = await readFile(await (await download).path(), "utf8");
    expect(text.slice(0, 200).toLowerCase(), name).toContain(beginning.toLowerCase());
  }

  expect(asked.filter((url) => !url.startsWith(origin) && !url.startsWith("blob:"))).toEqual([]);
  expect(complaints).toEqual([]);
});

test("names and messages of others are shown and do nothing", async ({ page, start, serve }, info) => {
  const { asked, complaints } = watched(page);
  const target = await serve((_, response) => {
    response.writeHead(500, { "content-type": "text/html", "x-name": "a" });
    response.end(HOSTILE);
  });
  const step = {
    name: HOSTILE.replace(/[\u001b\u202e]/g, ""),
    http: { path: "/" },
    checks: [{ body: { contains: "fine" } }],
  };
  const { address, origin } = await start(
    loadTest(target, [{ name: "task", steps: [step] }], { closed: { users: 2, duration: "60s" } }),
  );
  await page.goto(address);
  await expect(page.getByRole("row", { name: /<script>/ })).toBeVisible();
  await page.getByRole("tab", { name: "Failures" }).click();
  await expect(page.getByRole("row", { name: /onerror/ }).first()).toBeVisible();
  await page.screenshot({ path: info.outputPath("failures.png"), fullPage: true });
  for (const name of TABS) await page.getByRole("tab", { name }).click();
  expect(await page.title()).toBe("page – Starling");
  expect(await page.locator("img, script:not([src])").count()).toBe(0);
  const text = await page.locator("body").innerText();
  expect(text).not.toMatch(/[\u001b\u202e]/);
  expect(asked.filter((url) => !url.startsWith(origin))).toEqual([]);
  expect(complaints).toEqual([]);
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`nothing keeps anybody from the page, ${colorScheme}`, async ({ page, start }, info) => {
    await page.emulateMedia({ colorScheme });
    const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
    await page.goto(address);
    await busy(page);
    await page.getByText("Show data").first().click();
    for (const name of TABS) {
      await page.getByRole("tab", { name }).click();
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target)])).toEqual([]);
    }
    await page.screenshot({ path: info.outputPath(`${colorScheme}.png`), fullPage: true });
  });
}

test("a telephone shows everything without scrolling aside", async ({ page, start }, info) => {
  await page.setViewportSize({ width: 360, height: 740 });
  const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(address);
  await busy(page);
  await page.getByText("Show data").first().click();
  for (const name of TABS) {
    await page.getByRole("tab", { name }).click();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
  }
  await page.screenshot({ path: info.outputPath("narrow.png"), fullPage: true });
});

test("the keyboard reads a chart and changes the tables", async ({ page, start }) => {
  const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(address);
  await busy(page);
  const chart = page.getByRole("group", { name: /^Latency of successes/ });
  await chart.focus();
  await page.keyboard.press("Home");
  const spoken = page.locator("section", { has: chart }).locator("[aria-live]");
  await expect(spoken).toHaveText(/^0:0\d: p50 .+, p95 .+, p99 .+/);
  await page.keyboard.press("Escape");
  await expect(spoken).toHaveText("");
  await page.getByRole("tab", { name: "Steps" }).focus();
  await page.keyboard.press("End");
  await expect(page.getByRole("tab", { name: "Log" })).toBeFocused();
  await expect(page.getByRole("columnheader", { name: "What happened" })).toBeVisible();
  expect(page.url()).toContain("#tab=log");
});

test("a part of the time is chosen with the mouse, and stands in the address", async ({ page, start }) => {
  const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(address);
  await busy(page);
  const plot = await page.locator(".u-over").first().boundingBox();
  const x = (share: number) => plot!.x + plot!.width * share;
  await page.mouse.move(x(0.2), plot!.y + 60);
  await page.mouse.down();
  await page.mouse.move(x(0.6), plot!.y + 70, { steps: 4 });
  await page.mouse.up();
  await expect(page.getByText(/^0:0\d to 0:0\d/)).toBeVisible();
  expect(page.url()).toMatch(/#from=\d+\.\d&to=\d+\.\d$/);
  await page.getByLabel("p99.9").check();
  await page.reload();
  await expect(page.getByText(/^0:0\d to 0:0\d/)).toBeVisible();
  await expect(page.getByLabel("p99.9")).toBeChecked();
  await page.getByRole("button", { name: "Show all" }).click();
  expect(page.url()).not.toContain("from=");
});

test("a test of many steps is shown a page at a time, sorted and filtered", async ({ page, start, serve }) => {
  const target = await serve((_, response) => response.end("fine"));
  const tasks = Array.from({ length: 19 }, (_, task) => ({
    name: `task-${task}`,
    steps: Array.from({ length: 10 }, (_, step) => ({
      name: `step ${String(10 * task + step).padStart(3, "0")}`,
      http: { path: `/${task}/${step}` },
    })),
  }));
  const { address } = await start(
    loadTest(target, tasks, { closed: { users: 20, duration: "60s" } }),
  );
  await page.goto(address);
  const rows = page.getByRole("region", { name: "Steps" }).locator("tbody tr");
  await expect(page.getByText("1 to 60 of 190")).toBeVisible();
  expect(await rows.count()).toBe(61);
  await page.getByRole("button", { name: "Name" }).click();
  await expect(rows.nth(1)).toContainText("step 000");
  await page.getByRole("button", { name: "Name" }).click();
  await expect(rows.nth(1)).toContainText("step 189");
  // every step gets its turn in the frames
  const requests = rows.nth(1).getByRole("cell").nth(2);
  await expect(requests).not.toHaveText("0");
  await page.getByRole("searchbox").fill("step 07");
  await expect(page.getByText("10 of 190 steps")).toBeVisible();
  expect(await rows.count()).toBe(11);
  await page.getByText("Columns", { exact: true }).first().click();
  await page.getByLabel("99.9%ile").check();
  await expect(page.getByRole("columnheader", { name: "99.9%ile" })).toBeVisible();
});

test("chosen steps have their course in a chart", async ({ page, start, serve }) => {
  const target = await serve((request, response) => {
    setTimeout(() => response.end("fine"), request.url === "/7" ? 60 : 1);
  });
  const steps = Array.from({ length: 9 }, (_, number) => ({
    name: `step ${number}`,
    http: { path: `/${number}` },
  }));
  const { address } = await start(
    loadTest(target, [{ name: "task", steps }], { closed: { users: 5, duration: "60s" } }),
  );
  await page.goto(address);
  const chart = page.locator("section", { has: page.getByRole("heading", { name: /by step$/ }) });
  const lines = chart.getByRole("listitem");
  await expect(lines).toHaveCount(5);
  await expect(lines.first()).toContainText(/step 7 \d+(\.\d+)? ms/);
  await page.getByLabel("Show step 3 in the chart").check();
  await page.getByLabel("Show step 4 in the chart").check();
  await expect(lines).toHaveText([/^step 3/, /^step 4/]);
  await chart.getByRole("combobox").selectOption("Requests/s");
  await expect(lines.first()).not.toContainText("ms");
  expect(page.url()).toContain("#step=3%2C4&m=requests");
  await page.reload();
  await expect(lines).toHaveText([/^step 3/, /^step 4/]);
});

test("nobody sees anything without the token", async ({ page, request, start }) => {
  const { origin, code } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  for (const path of ["ui/state", "ui/stream?after=1", "progress", "result"]) {
    expect((await request.get(`${origin}/api/v1/${path}`)).status(), path).toBe(401);
  }
  await page.goto(origin);
  await page.getByLabel("Token of the run").fill(`${code.slice(1)}0`);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toHaveText("This is no token of this run.");
  await page.getByLabel("Token of the run").fill(code);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("quickstart");
  const [cookie] = await page.context().cookies();
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", path: "/" });
  expect(cookie!.value).not.toContain(code);
});

test("a login that only watches has nothing to press", async ({ page, start }) => {
  const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  // the token of a local run may do everything; of a cluster's read token the master says this
  await page.route("**/api/v1/ui/state", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), mayControl: false } });
  });
  await page.goto(address);
  await busy(page);
  await expect(page.getByRole("button", { name: /^Stop/ })).toHaveCount(0);
  await expect(page.getByRole("spinbutton")).toHaveCount(0);
});

test("the load is changed by hand, and goes back to the profile", async ({ page, start }) => {
  const { address } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(address);
  const users = page.locator(".figures > div", { hasText: "Users" }).locator("dd");
  await expect(users).toHaveText("20");
  await page.getByRole("spinbutton").fill("7");
  await page.getByRole("button", { name: "Set" }).click();
  await expect(users).toHaveText("7");
  await expect(page.getByText("client: 7 users by hand, profile 20")).toBeVisible();
  await page.getByRole("tab", { name: "Log" }).click();
  await expect(page.getByRole("row", { name: /changed by hand/ })).toBeVisible();
  await page.getByRole("button", { name: "Back to the profile" }).click();
  await expect(users).toHaveText("20");
  await expect(page.getByText("client: 20 users")).toBeVisible();
  // what the master refuses is said in its words
  await page.getByRole("spinbutton").fill("2000000");
  await page.getByRole("button", { name: "Set" }).click();
  await expect(page.getByRole("alert")).toContainText("1000000");
});

test("a run is stopped on its page, after a question", async ({ page, start }) => {
  const { address, ended } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(address);
  await busy(page);
  await page.getByRole("button", { name: "Stop…" }).click();
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("button", { name: "Stop…" }).click();
  await page.getByRole("button", { name: "Stop now" }).click();
  const status = page.getByRole("status").first();
  await expect(status).toContainText("Aborted");
  await expect(page.getByText("stopped on the page of the run").first()).toBeVisible();
  await expect(page.getByRole("button", { name: /^Stop/ })).toHaveCount(0);
  expect(await ended).toBe(1);
});

test("a code that is not of the run leads to the login", async ({ page, start }) => {
  const { origin } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  await page.goto(`${origin}/#code=0123`);
  await expect(page.getByRole("alert")).toHaveText(
    "The code in the address is not one of this run.",
  );
  expect(page.url()).toBe(`${origin}/`);
});

test("other sites and other names get nothing", async ({ request, start }) => {
  const { origin, code } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  const login = (headers: Record<string, string>) =>
    request.post(`${origin}/api/v1/ui/login`, { data: { token: code }, headers });
  expect((await login({ Origin: "https://evil.example" })).status()).toBe(403);
  expect((await login({ "Sec-Fetch-Site": "cross-site" })).status()).toBe(403);
  expect((await login({ Host: "evil.example" })).status()).toBe(421);
  const form = await request.post(`${origin}/api/v1/ui/login`, { form: { token: code } });
  expect(form.status()).toBe(415);
  const page = await request.get(origin);
  const policy = page.headers()["content-security-policy"];
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("require-trusted-types-for 'script'");
  expect(policy).not.toContain("unsafe");
});

test("tabs of a browser share one stream, and the others go on when one is closed", async ({ context, start }) => {
  const { address, origin } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  const streams: string[] = [];
  context.on("request", (request) => {
    if (request.url().includes("/stream")) streams.push(request.url());
  });
  const live = async (page: Page) => {
    await expect(page.getByRole("status").first()).toContainText("live");
    await busy(page);
    const requests = requestsOf(page);
    await expect(requests).not.toHaveText((await requests.textContent()) ?? "");
  };
  const first = await context.newPage();
  await first.goto(address);
  await live(first);
  const second = await context.newPage();
  await second.goto(origin);
  await live(second);
  await live(first);
  expect(streams).toHaveLength(1);
  await first.close();
  await live(second);
  expect(streams).toHaveLength(2);
});

test("a stream goes on where it was cut, and a reload loses nothing", async ({ page, request, start }) => {
  const { origin, address, code } = await start(QUICKSTART, "--demo-service", "--duration", "60s");
  const headers = { Authorization: `Bearer ${code}` };
  const state = async () => (await request.get(`${origin}/api/v1/ui/state`, { headers })).json();
  /** Numbers of the frames that come first on a new connection, and the seconds of their points. */
  const frames = async (last: number, wanted: number) => {
    const cut = new AbortController();
    const response = await fetch(`${origin}/api/v1/ui/stream?after=0`, {
      headers: { ...headers, "Last-Event-ID": String(last) },
      signal: cut.signal,
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (text.split("\n\n").length < wanted + 3 && !text.includes("event: reset")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
    }
    cut.abort();
    expect(text.length).toBeLessThan(64 * 1024 * wanted);
    return text;
  };
  const first = (await state()).frame.id;
  expect(await frames(first, 2)).toMatch(
    new RegExp(`id: ${first + 1}\n[^]*id: ${first + 2}\n`),
  );
  await page.waitForTimeout(2_000);
  expect(await frames(first + 2, 2)).toMatch(
    new RegExp(`id: ${first + 3}\n[^]*id: ${first + 4}\n`),
  );
  expect(await frames(first - 1, 1)).toContain("event: reset");

  await page.goto(address);
  await expect(page.getByRole("status").first()).toContainText("live");
  const { series } = await state();
  await page.reload();
  await page.getByText("Show data").first().click();
  const rows = page.getByRole("region", { name: /^Data of/ }).locator("tbody tr");
  await expect.poll(() => rows.count()).toBeGreaterThanOrEqual(series.length);
  await expect(rows.last().getByRole("rowheader")).toHaveText("0:00");
});

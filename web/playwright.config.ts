import { defineConfig } from "@playwright/test";

// The browser is Debian's: none is downloaded. As root, as in containers, it has no sandbox.
export default defineConfig({
  testDir: "tests",
  outputDir: process.env.STARLING_TEST_LOGS ?? "test-results",
  timeout: 90_000,
  expect: { timeout: 15_000 },
  // each test has a run of its own, which wants its share of the machine
  workers: 1,
  reporter: "list",
  use: {
    viewport: { width: 1280, height: 900 },
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
  },
});

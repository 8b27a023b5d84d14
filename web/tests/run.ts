/** Runs of the real program, which the page is tested against. */

import { spawn } from "node:child_process";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { expect, test as base, type Page } from "@playwright/test";

const ROOT = resolve(import.meta.dirname, "../..");
const PROGRAM = resolve(ROOT, process.env.STARLING ?? "target/debug/starling");

/** A run that serves its page. */
export interface Started {
  /** Address of the page, with the code that logs in. */
  address: string;
  /** Address without the code. */
  origin: string;
  code: string;
  /** Exit code of the program, when it has ended. */
  ended: Promise<number | null>;
}

interface Fixtures {
  /** Starts a run of a test in JSON, or of a file among the examples. */
  start: (test: object | string, ...args: string[]) => Promise<Started>;
  /** Serves a target, and gives back its address. */
  serve: (listener: RequestListener) => Promise<string>;
}

export const test = base.extend<Fixtures>({
  start: async ({}, use) => {
    const stops: (() => Promise<unknown>)[] = [];
    await use(async (test, ...args) => {
      const isFile = typeof test === "string";
      const source = isFile ? resolve(ROOT, test) : "-";
      const program = spawn(PROGRAM, ["run", source, "--web", ...args], {
        stdio: ["pipe", "ignore", "pipe"],
      });
      const ended = new Promise<number | null>((done) => program.on("exit", done));
      stops.push(() => {
        program.kill("SIGKILL");
        return ended;
      });
      program.stdin.end(isFile ? "" : JSON.stringify(test));
      let said = "";
      const address = await new Promise<string>((found, failed) => {
        program.stderr.on("data", (data: Buffer) => {
          said += data;
          const match = /http:\/\/\S+#code=\w+/.exec(said);
          if (match) found(match[0]);
        });
        ended.then((code) => failed(new Error(`the program ended with ${code}: ${said}`)));
      });
      const url = new URL(address);
      return { address, origin: url.origin, code: url.hash.slice("#code=".length), ended };
    });
    for (const stop of stops) await stop();
  },
  serve: async ({}, use) => {
    const servers: ReturnType<typeof createServer>[] = [];
    await use(async (listener) => {
      const server = createServer(listener);
      servers.push(server);
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  },
});

/** Every address that a page asks for, and every complaint of the browser about it. */
export function watched(page: Page): { asked: string[]; complaints: string[] } {
  const [asked, complaints]: [string[], string[]] = [[], []];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return { asked, complaints };
}

/** A test of a target with the tasks of one scenario. */
export function loadTest(url: string, tasks: object[], load: object): object {
  return {
    apiVersion: "starling.dev/v1alpha1",
    kind: "LoadTest",
    metadata: { name: "page" },
    spec: {
      target: { url },
      scenarios: [{ name: "client", thinkTime: { min: "5ms", max: "15ms" }, tasks }],
      load,
    },
  };
}

export { expect };

/** Calls to the master. Every address is relative, so that the page works behind a path prefix. */

import type { Frame, State } from "./contract";

/** The master does not know this login, or knows it no more. */
export class NotLoggedIn extends Error {}

/** The master refused a call, in its words. */
export class Refused extends Error {}

/** Longest time of a call, in milliseconds. */
const WITHIN = 15_000;

async function call(address: string, body?: unknown): Promise<Response> {
  const init: RequestInit =
    body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        };
  const response = await fetch(address, {
    ...init,
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(WITHIN),
  });
  if (response.status === 401) throw new NotLoggedIn();
  if (!response.ok) {
    const words = (await response.text()).slice(0, 300);
    throw new Refused(words || `the server answered ${response.status}`);
  }
  return response;
}

/** Shows the token to the master, which answers with a cookie. */
export async function logIn(token: string): Promise<void> {
  await call("api/v1/ui/login", { token });
}

/** Fetches the whole state of the run. */
export async function fetchState(): Promise<State> {
  return (await call("api/v1/ui/state")).json() as Promise<State>;
}

/** Ends the run as aborted. */
export async function stop(run: string, message: string): Promise<void> {
  await call("api/v1/stop", { run, message });
}

/** An amount of load, or the word to follow the profile again. */
export type Load = { users: number } | { rate: number } | { profile: true };

/** Changes the load of a scenario, which may be left out where there is one load. */
export async function setLoad(
  run: string,
  scenario: string | undefined,
  load: Load,
): Promise<void> {
  await call("api/v1/load", { run, scenario, ...load });
}

/** Fetches a file that is to be kept when the server is gone. */
export async function fetchFile(address: string): Promise<Blob> {
  return (await call(address)).blob();
}

/** What a stream of frames tells. */
export interface Listener {
  onFrame(frame: Frame): void;
  /** Frames are lost for this page: the state has to be fetched anew. */
  onReset(): void;
  onOpen(): void;
  /** The connection is gone; `final` if the browser does not try again. */
  onError(final: boolean): void;
}

/** Opens the stream of frames after the one numbered `after`. Gives back what closes it. */
export function listen(after: number, listener: Listener): () => void {
  const source = new EventSource(`api/v1/ui/stream?after=${after}`);
  source.onopen = () => listener.onOpen();
  source.onmessage = (event: MessageEvent<string>) =>
    listener.onFrame(JSON.parse(event.data) as Frame);
  source.addEventListener("reset", () => {
    source.close();
    listener.onReset();
  });
  source.onerror = () => listener.onError(source.readyState === EventSource.CLOSED);
  return () => source.close();
}

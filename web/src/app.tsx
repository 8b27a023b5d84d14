/** The page: login, then the run as it goes. */

import { useCallback, useEffect, useState } from "preact/hooks";
import { fetchState, logIn, NotLoggedIn, Refused } from "./api";
import { Charts } from "./charts";
import type { State } from "./contract";
import { foreign } from "./format";
import { Header, Thresholds, type Connection } from "./header";
import { Plan } from "./plan";
import { share } from "./share";
import { Steps } from "./steps";
import { Run, VERSION } from "./store";
import { Answers, Failures, Levels, Log, Problems, WorkersTable } from "./tables";
import { read, TABS, write, type Tab, type View } from "./view";

/** Pause before the state is asked for again, in milliseconds; doubled up to the longest. */
const PAUSE = 1_000;
const LONGEST_PAUSE = 15_000;

type Shown =
  | { is: "loading"; problem?: string }
  | { is: "login"; problem?: string }
  | { is: "outdated" }
  | { is: "run"; run: Run };

export function App() {
  const [shown, setShown] = useState<Shown>({ is: "loading" });
  const [connection, setConnection] = useState<Connection>("connecting");
  const [attempt, setAttempt] = useState(0);
  const begin = useCallback(() => setAttempt((number) => number + 1), []);
  useFollowing(attempt, setShown, setConnection);
  switch (shown.is) {
    case "loading":
      return (
        <main class="alone">
          <p role="status">{shown.problem ?? "Asking for the run…"}</p>
        </main>
      );
    case "login":
      return <Login problem={shown.problem} onDone={begin} />;
    case "outdated":
      return (
        <main class="alone">
          <p>The server is of another release than this page.</p>
          <button type="button" onClick={() => location.reload()}>
            Reload
          </button>
        </main>
      );
    case "run":
      return <Page run={shown.run} connection={connection} />;
  }
}

/** Takes a one-time code out of the address, and shows it to the server. */
async function redeemCode(): Promise<void> {
  const fields = new URLSearchParams(location.hash.replace(/^#/, ""));
  const code = fields.get("code");
  if (code === null) return;
  fields.delete("code");
  const rest = fields.toString();
  history.replaceState(null, "", rest === "" ? location.pathname : `#${rest}`);
  await logIn(code);
}

/** Follows the run: the state first, then every frame; what breaks is begun again. */
function useFollowing(
  attempt: number,
  setShown: (shown: Shown) => void,
  setConnection: (connection: Connection) => void,
): void {
  useEffect(() => {
    let run: Run | undefined;
    let close: (() => void) | undefined;
    let timer: number | undefined;
    let pause = PAUSE;
    let isOver = false;

    const show = () => {
      if (run) setShown({ is: "run", run });
    };
    const disconnect = () => {
      close?.();
      close = undefined;
      window.clearTimeout(timer);
    };
    const again = () => {
      disconnect();
      setConnection("connecting");
      timer = window.setTimeout(load, pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    };
    const end = async (ended: Run) => {
      isOver = true;
      setConnection("over");
      // a server that ends with the run waits for those who listen
      if (ended.state.endsWithRun) await ended.keepFiles();
      show();
      disconnect();
    };
    const connect = () => {
      if (!run || isOver) return;
      if (document.hidden) return setConnection("hidden");
      const known = run;
      close = share(known.state.run.id, () => known.frame.id, {
        onOpen: () => {
          pause = PAUSE;
          setConnection("live");
        },
        onFrame: (frame) => {
          if (!run?.apply(frame)) return again();
          show();
          if (frame.verdict.final) void end(run);
        },
        onReset: load,
        onError: (isFinal) => (isFinal ? again() : setConnection("connecting")),
      });
    };
    const load = async () => {
      disconnect();
      let state: State;
      try {
        state = await fetchState();
      } catch (error) {
        if (isOver) return;
        if (error instanceof NotLoggedIn) return setShown({ is: "login" });
        if (!run) setShown({ is: "loading", problem: "The server does not answer; trying again…" });
        return again();
      }
      if (state.version !== VERSION) return setShown({ is: "outdated" });
      run = new Run(state);
      show();
      if (state.frame.verdict.final) return void end(run);
      connect();
    };
    const hide = () => {
      if (isOver || !run) return;
      if (document.hidden) {
        disconnect();
        setConnection("hidden");
      } else {
        // what happened meanwhile comes with the stream, or is fetched if it is too much
        connect();
      }
    };

    document.addEventListener("visibilitychange", hide);
    redeemCode().then(load, (error: unknown) =>
      setShown({
        is: "login",
        problem:
          error instanceof NotLoggedIn
            ? "The code in the address is not one of this run."
            : "The server does not answer.",
      }),
    );
    return () => {
      document.removeEventListener("visibilitychange", hide);
      disconnect();
      isOver = true;
    };
  }, [attempt]);
}

function Login({ problem, onDone }: { problem: string | undefined; onDone: () => void }) {
  const [token, setToken] = useState("");
  const [words, setWords] = useState(problem);
  const [isAsking, setAsking] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setAsking(true);
    try {
      await logIn(token.trim());
      onDone();
    } catch (error) {
      if (error instanceof NotLoggedIn) setWords("This is no token of this run.");
      else if (error instanceof Refused) setWords(foreign(error.message));
      else setWords("The server does not answer.");
    }
    setAsking(false);
  };
  return (
    <main class="alone">
      <h1>Starling</h1>
      <form class="login" onSubmit={submit}>
        <label for="token">Token of the run</label>
        <input
          id="token"
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          value={token}
          aria-describedby="token-help"
          aria-invalid={words !== undefined}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <p id="token-help">
          In a cluster it is <code>read.token</code> in the Secret of the run; a local run prints an
          address that has it.
        </p>
        <p class="problem" role="alert">
          {words ?? ""}
        </p>
        <button type="submit" disabled={token.trim() === "" || isAsking}>
          Log in
        </button>
      </form>
    </main>
  );
}

const TAB_NAMES: Record<Tab, string> = {
  steps: "Steps",
  failures: "Failures",
  workers: "Workers",
  answers: "Answers",
  plan: "Plan",
  log: "Log",
};

function Page({ run, connection }: { run: Run; connection: Connection }) {
  const [view, setView] = useState<View>(() => read(location.hash));
  const [notice, setNotice] = useState<string | undefined>(undefined);
  useEffect(() => {
    const change = () => setView(read(location.hash));
    window.addEventListener("hashchange", change);
    return () => window.removeEventListener("hashchange", change);
  }, []);
  useEffect(() => {
    document.title = `${foreign(run.state.run.name)} – Starling`;
  }, [run]);
  const onView = (change: Partial<View>) => {
    const next = { ...view, ...change };
    setView(next);
    history.replaceState(null, "", write(next) || location.pathname);
  };
  const onOrder = (order: Promise<void>) => {
    setNotice(undefined);
    order.catch((error: unknown) =>
      setNotice(
        error instanceof NotLoggedIn
          ? "This login may not do that any more: reload the page."
          : error instanceof Refused
            ? foreign(error.message)
            : "The server did not answer; the order may have come through.",
      ),
    );
  };
  return (
    <>
      <a class="skip" href="#details" onClick={toDetails}>
        To the tables
      </a>
      <Header run={run} connection={connection} onOrder={onOrder} />
      <main>
        {notice !== undefined && (
          <p class="problem" role="alert">
            {notice}
          </p>
        )}
        <Problems run={run} />
        <Thresholds run={run} />
        <Levels run={run} />
        <Charts run={run} view={view} onView={onView} />
        <Details run={run} view={view} onView={onView} />
      </main>
    </>
  );
}

/** Moves the focus without a change of the address, which holds the view. */
function toDetails(event: Event): void {
  event.preventDefault();
  document.getElementById("details")?.focus();
}

interface DetailsProps {
  run: Run;
  view: View;
  onView: (view: Partial<View>) => void;
}

function Details({ run, view, onView }: DetailsProps) {
  const { state } = run.frame.progress;
  // before the load there is nothing but the plan
  const isBefore = ["Waiting", "Ready", "Preparing"].includes(state);
  const tab = view.tab ?? (isBefore ? "plan" : "steps");
  const onTab = (tab: Tab) => onView({ tab });
  const move = (event: KeyboardEvent) => {
    const place = TABS.indexOf(tab);
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: TABS.length - 1 }[
      event.key
    ];
    if (next === undefined) return;
    event.preventDefault();
    const chosen = TABS[(next + TABS.length) % TABS.length]!;
    onTab(chosen);
    document.getElementById(`tab-${chosen}`)?.focus();
  };
  const count: Partial<Record<Tab, number>> = {
    steps: run.state.stepNames.length,
    failures: run.frame.errors.length,
    log: run.events.length,
  };
  return (
    <section class="panel details" id="details" tabIndex={-1} aria-label="Tables">
      <div role="tablist" aria-label="Tables" class="tabs" onKeyDown={move}>
        {TABS.map((name) => (
          <button
            key={name}
            id={`tab-${name}`}
            type="button"
            role="tab"
            aria-selected={name === tab}
            aria-controls="tab-panel"
            tabIndex={name === tab ? 0 : -1}
            onClick={() => onTab(name)}
          >
            {TAB_NAMES[name]}
            {count[name] !== undefined && <small> {count[name]}</small>}
          </button>
        ))}
      </div>
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === "steps" && (
          <Steps run={run} chosen={view.steps} onChoose={(steps) => onView({ steps })} />
        )}
        {tab === "failures" && <Failures run={run} />}
        {tab === "workers" && <WorkersTable run={run} />}
        {tab === "answers" && <Answers run={run} />}
        {tab === "plan" && <Plan run={run} />}
        {tab === "log" && <Log run={run} />}
      </div>
    </section>
  );
}

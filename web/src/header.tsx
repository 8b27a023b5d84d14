/** The top of the page: what runs, how it goes, and what may be done about it. */

import { useState } from "preact/hooks";
import { setLoad, stop, type Load } from "./api";
import type { Judgement, LoadNow } from "./contract";
import { clock, count, foreign, percent, rate, STATES, time } from "./format";
import type { Run } from "./store";

/** How the page hears of the run. */
export type Connection = "live" | "connecting" | "hidden" | "over";

const CONNECTIONS: Record<Connection, string> = {
  live: "live",
  connecting: "connecting again…",
  hidden: "paused while hidden",
  over: "the run is over",
};

interface Props {
  run: Run;
  connection: Connection;
  /** Says what went wrong with an order, or that nothing did. */
  onOrder: (order: Promise<void>) => void;
}

export function Header({ run, connection, onOrder }: Props) {
  const { state, frame } = run;
  const { progress } = frame;
  return (
    <header class="top">
      <div class="title">
        <h1>
          {foreign(state.run.name)}
          <small>{foreign(state.run.id)}</small>
        </h1>
        <p class="pills" role="status">
          <span class={`pill state-${progress.state.toLowerCase()}`}>
            {STATES[progress.state] ?? progress.state}
            {progress.errand === null ? "" : `: ${foreign(progress.errand)}`}
          </span>
          <VerdictPill run={run} />
          <span class={`pill connection-${connection}`}>{CONNECTIONS[connection]}</span>
        </p>
      </div>
      <p class="target">
        Load on <b>{foreign(state.run.target)}</b>
        {state.run.namespace === null ? "" : ` from namespace ${foreign(state.run.namespace)}`}
      </p>
      <Elapsed run={run} />
      <Figures run={run} />
      {frame.verdict.final && frame.verdict.message !== null && (
        <p class="outcome">{foreign(frame.verdict.message)}</p>
      )}
      <div class="acts">
        {state.mayControl && !isOver(run) && <Controls run={run} onOrder={onOrder} />}
        <Downloads run={run} />
      </div>
    </header>
  );
}

function isOver(run: Run): boolean {
  return ["Stopping", "Finished", "Lost"].includes(run.frame.progress.state);
}

/** The verdict, or what it would be now. */
function VerdictPill({ run }: { run: Run }) {
  const { thresholds } = run;
  const { verdict } = run.frame;
  if (verdict.final) {
    const word = verdict.verdict ?? "Errored";
    return <span class={`pill verdict-${word.toLowerCase()}`}>{word}</span>;
  }
  if (thresholds.length === 0) return <span class="pill">no thresholds</span>;
  const of = (wanted: Judgement["verdict"]) =>
    thresholds.filter(({ judgement }) => judgement.verdict === wanted).length;
  const [failed, met] = [of("Failed"), of("Passed")];
  if (failed > 0) {
    return (
      <span class="pill verdict-failed">
        so far {count(failed)} of {count(thresholds.length)} thresholds breached
      </span>
    );
  }
  return (
    <span class={`pill ${met > 0 ? "verdict-passed" : ""}`}>
      so far {count(met)} of {count(thresholds.length)} thresholds met
    </span>
  );
}

function Elapsed({ run }: { run: Run }) {
  const { elapsedMicros, lengthMicros, plannedIterations, iterations, state, level } =
    run.frame.progress;
  const [done, whole] =
    lengthMicros > 0 ? [elapsedMicros, lengthMicros] : [iterations, plannedIterations];
  const share = state === "Finished" ? 1 : whole > 0 ? Math.min(1, done / whole) : undefined;
  const words =
    lengthMicros > 0
      ? `${clock(elapsedMicros / 1e6)} of ${clock(lengthMicros / 1e6)}`
      : plannedIterations > 0
        ? `${count(iterations)} of ${count(plannedIterations)} iterations, ${clock(elapsedMicros / 1e6)}`
        : `${clock(elapsedMicros / 1e6)} elapsed`;
  return (
    <div class="elapsed">
      {share !== undefined && (
        <progress max={1} value={share} aria-label="Progress of the run">
          {percent(share)}
        </progress>
      )}
      <span>
        {words}
        {level !== null && `, trying ${rate(level)} iterations per second`}
      </span>
    </div>
  );
}

function Figures({ run }: { run: Run }) {
  const { progress } = run.frame;
  const share = progress.requests > 0 ? progress.failures / progress.requests : 0;
  const p95 = progress.state === "Running" ? progress.p95Micros : run.total.p95;
  const figures: [label: string, value: string, note?: string][] = [
    [run.state.run.open ? "Busy slots" : "Users", count(progress.users)],
    ["Requests/s", rate(progress.state === "Running" ? progress.rps : run.total.rps)],
    ["Failures", percent(share), `${count(progress.failures)} of ${count(progress.requests)}`],
    ["p95", p95 > 0 ? time(p95) : "–", progress.state === "Running" ? "last second" : "whole run"],
    ["Workers", `${count(progress.connected)}/${count(progress.workers)}`],
  ];
  return (
    <dl class="figures">
      {figures.map(([label, value, note]) => (
        <div key={label} class={label === "Failures" && share > 0 ? "bad" : undefined}>
          <dt>{label}</dt>
          <dd>
            {value}
            {note !== undefined && <small>{note}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** Every threshold with what was observed of it. */
export function Thresholds({ run }: { run: Run }) {
  const { thresholds } = run;
  const { verdict } = run.frame;
  if (thresholds.length === 0) {
    return (
      <section class="panel">
        <h2>Thresholds</h2>
        <p class="none">This test has none, so only load and errors decide.</p>
      </section>
    );
  }
  const words = { Passed: "met", Failed: "breached", NotJudged: "not judged yet" };
  return (
    <section class="panel">
      <h2>Thresholds {verdict.final ? "" : "so far"}</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Thresholds">
        <table class="thresholds">
          <thead>
            <tr>
              <th scope="col" class="words">
                Threshold
              </th>
              <th scope="col" class="words">
                Of
              </th>
              <th scope="col">Observed</th>
              <th scope="col" class="words">
                Judgement
              </th>
            </tr>
          </thead>
          <tbody>
            {thresholds.map(({ rule, judgement }, number) => (
              <tr key={number} class={`verdict-${judgement.verdict.toLowerCase()}`}>
                <th scope="row" class="words">
                  {foreign(rule.metric)} {foreign(rule.expr)}
                  {rule.windowMicros !== null && ` over ${time(rule.windowMicros)}`}
                </th>
                <td class="words">{selection(rule.select)}</td>
                <td>{foreign(judgement.observedText)}</td>
                <td class="words">
                  <span class="mark">
                    {judgement.verdict === "NotJudged" && verdict.final
                      ? "not judged"
                      : words[judgement.verdict]}
                  </span>
                  {rule.abortOnFail && <small>a breach ends the run</small>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function selection(select: Record<string, unknown>): string {
  const parts = Object.entries(select).map(
    ([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return parts.length === 0 ? "all steps" : foreign(parts.join(", "));
}

function Controls({ run, onOrder }: Pick<Props, "run" | "onOrder">) {
  const { id } = run.state.run;
  const [asking, setAsking] = useState(false);
  const { state, load } = run.frame.progress;
  const isFixed = run.state.run.plan.control?.allowed === "StopOnly";
  const loads = state === "Running" && !isFixed ? load : [];
  return (
    <div class="controls">
      {loads.map((load) => (
        <LoadControl
          key={`${load.scenario}/${load.unit}`}
          load={load}
          onSet={(wanted) => {
            const scenario = loads.length > 1 ? firstScenario(run, load) : undefined;
            onOrder(setLoad(id, scenario, wanted));
          }}
        />
      ))}
      {asking ? (
        <span class="ask" role="group" aria-label="Stop the run?">
          The run then ends as aborted.{" "}
          <button
            type="button"
            class="danger"
            onClick={() => {
              setAsking(false);
              onOrder(stop(id, "stopped on the page of the run"));
            }}
          >
            Stop now
          </button>{" "}
          <button type="button" onClick={() => setAsking(false)}>
            Go on
          </button>
        </span>
      ) : (
        <button type="button" class="danger" onClick={() => setAsking(true)}>
          Stop…
        </button>
      )}
    </div>
  );
}

/** A scenario by which the master knows which load is meant. */
function firstScenario(run: Run, { scenario: joined }: LoadNow): string | undefined {
  const names = (run.state.run.plan.scenarios ?? []).map(({ name }) => name ?? "");
  return names.find((name) => joined === name || joined.startsWith(`${name},`));
}

function LoadControl({ load, onSet }: { load: LoadNow; onSet: (load: Load) => void }) {
  const [text, setText] = useState("");
  const value = Number(text);
  const isUsers = load.unit === "users";
  const isFit = text !== "" && value >= 0 && Number.isFinite(value) && (!isUsers || Number.isInteger(value));
  const unit = isUsers ? "users" : "iterations/s";
  const amount = isUsers ? count : rate;
  return (
    <form
      class="load"
      onSubmit={(event) => {
        event.preventDefault();
        if (!isFit) return;
        onSet(isUsers ? { users: value } : { rate: value });
        setText("");
      }}
    >
      <label>
        {foreign(load.scenario)}: {amount(load.wanted)} {unit}
        {load.byHand ? ` by hand, profile ${amount(load.planned)}` : ""}{" "}
        <input
          type="number"
          min="0"
          step={isUsers ? "1" : "any"}
          placeholder={unit}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>{" "}
      <button type="submit" disabled={!isFit}>
        Set
      </button>{" "}
      {load.byHand && (
        <button type="button" onClick={() => onSet({ profile: true })}>
          Back to the profile
        </button>
      )}
    </form>
  );
}

function Downloads({ run }: { run: Run }) {
  if (!run.frame.verdict.final || run.state.downloads.length === 0) return null;
  return (
    <p class="downloads">
      Download{" "}
      {run.state.downloads.map(({ label, href, file }) => (
        <a key={href} href={run.files.get(href) ?? href} download={file}>
          {label}
        </a>
      ))}
    </p>
  );
}

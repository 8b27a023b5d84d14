/** The table of steps, with Locust's columns first. */

import { useState } from "preact/hooks";
import type { Step } from "./contract";
import { MAX_CHOSEN } from "./course";
import { bytes, count, foreign, percent, rate, time } from "./format";
import type { Run } from "./store";
import { Table, type Column } from "./table";

/** Place of the sum of all steps. */
const TOTAL = -1;

/** Columns that are not shown at first. */
const OPTIONAL = ["p90", "p999", "share", "mean-rps", "checks"];

/** Where the reader's choice of columns is kept. */
const STORED = "starling.columns";

function columns(run: Run): Column<Step>[] {
  const name = (step: Step) => run.state.stepNames[step.place];
  const latency = (key: string, label: string, of: (step: Step) => number, about?: string) => ({
    key,
    label,
    about: about ?? `${label} of the time from the intended start to the last byte, of successes`,
    value: of,
    show: (step: Step) => (step.requests === step.failures ? "–" : time(of(step))),
  });
  const now = (step: Step, of: "requests" | "failures") => run.rates(step.place)?.[of] ?? 0;
  return [
    {
      key: "name",
      label: "Name",
      words: true,
      value: (step) => name(step)?.step ?? "",
      show: (step) => {
        const names = name(step);
        if (!names) return <b>All steps</b>;
        return (
          <>
            {foreign(names.step)}
            <small>
              {foreign(names.scenario)} › {foreign(names.task)}
            </small>
          </>
        );
      },
    },
    { key: "type", label: "Type", words: true, value: (step) => name(step)?.type ?? "" },
    { key: "requests", label: "# Requests", value: (s) => s.requests, show: (s) => count(s.requests) },
    { key: "failures", label: "# Fails", value: (s) => s.failures, show: (s) => count(s.failures) },
    {
      key: "share",
      label: "Fails %",
      value: (s) => (s.requests > 0 ? s.failures / s.requests : 0),
      show: (s) => percent(s.requests > 0 ? s.failures / s.requests : 0),
    },
    latency("p50", "Median", (s) => s.p50),
    latency("p90", "90%ile", (s) => s.p90),
    latency("p95", "95%ile", (s) => s.p95),
    latency("p99", "99%ile", (s) => s.p99),
    latency("p999", "99.9%ile", (s) => s.p999),
    latency("mean", "Average", (s) => s.mean),
    latency("min", "Min", (s) => s.min),
    latency("max", "Max", (s) => s.max),
    {
      key: "size",
      label: "Average size",
      about: "Bytes of heads and bodies received per request",
      value: (s) => (s.requests > 0 ? s.bytes / s.requests : 0),
      show: (s) => bytes(s.requests > 0 ? s.bytes / s.requests : 0),
    },
    {
      key: "rps",
      label: "Current RPS",
      about: "Requests per second over the last 10 seconds",
      value: (s) => now(s, "requests"),
      show: (s) => rate(now(s, "requests")),
    },
    {
      key: "fps",
      label: "Current failures/s",
      about: "Failures per second over the last 10 seconds",
      value: (s) => now(s, "failures"),
      show: (s) => rate(now(s, "failures")),
    },
    {
      key: "mean-rps",
      label: "Mean RPS",
      about: "Requests per second over the measured part so far",
      value: (s) => s.rps,
      show: (s) => rate(s.rps),
    },
    {
      key: "checks",
      label: "Checks failed",
      value: (s) => s.checksFailed,
      show: (s) => count(s.checksFailed),
    },
  ];
}

function readHidden(): ReadonlySet<string> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORED) ?? "null");
    if (Array.isArray(stored)) return new Set(stored.map(String));
  } catch {
    // a browser that keeps nothing, or keeps what we did not write, has the usual columns
  }
  return new Set(OPTIONAL);
}

interface Props {
  run: Run;
  /** Places of the steps whose course is shown. */
  chosen: number[];
  onChoose: (places: number[]) => void;
}

/** The column that chooses steps for the chart. */
function choice({ run, chosen, onChoose }: Props): Column<Step> {
  const toggle = (place: number) =>
    onChoose(
      chosen.includes(place) ? chosen.filter((other) => other !== place) : [...chosen, place],
    );
  return {
    key: "chart",
    label: "Chart",
    about: `Shows the course of the step, of at most ${MAX_CHOSEN} at a time`,
    value: (step) => (chosen.includes(step.place) ? 1 : 0),
    show: (step) => {
      const name = run.state.stepNames[step.place];
      if (!name || !run.courses.has(step.place)) return "";
      const isChosen = chosen.includes(step.place);
      return (
        <input
          type="checkbox"
          aria-label={`Show ${foreign(name.step)} in the chart`}
          checked={isChosen}
          disabled={!isChosen && chosen.length >= MAX_CHOSEN}
          onChange={() => toggle(step.place)}
        />
      );
    },
  };
}

export function Steps(props: Props) {
  const { run } = props;
  const [filter, setFilter] = useState("");
  const [hidden, setHidden] = useState(readHidden);
  const [name, ...others] = columns(run);
  const all = [name!, choice(props), ...others];
  const shown = all.filter((column) => !hidden.has(column.key));
  const toggle = (key: string) => {
    const next = new Set(hidden);
    if (!next.delete(key)) next.add(key);
    setHidden(next);
    try {
      localStorage.setItem(STORED, JSON.stringify([...next]));
    } catch {
      // the choice then lasts as long as the page
    }
  };
  const words = filter.trim().toLowerCase();
  const matches = (step: Step) => {
    const names = run.state.stepNames[step.place];
    return (
      names !== undefined &&
      [names.step, names.task, names.scenario].some((name) => name.toLowerCase().includes(words))
    );
  };
  const rows = [...run.steps.values()].filter(matches);
  return (
    <>
      <div class="tools">
        <label>
          Filter{" "}
          <input
            type="search"
            value={filter}
            placeholder="name, task or scenario"
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </label>
        <details class="picker">
          <summary>Columns</summary>
          <fieldset>
            <legend>Columns</legend>
            {all.slice(1).map(({ key, label }) => (
              <label key={key}>
                <input
                  type="checkbox"
                  checked={!hidden.has(key)}
                  onChange={() => toggle(key)}
                />
                {label}
              </label>
            ))}
          </fieldset>
        </details>
        {words !== "" && (
          <p role="status">
            {count(rows.length)} of {count(run.steps.size)} steps
          </p>
        )}
      </div>
      <Table
        label="Steps"
        columns={shown}
        rows={rows}
        id={(step) => step.place}
        pinned={run.total.place === TOTAL ? run.total : { ...run.total, place: TOTAL }}
        sort={{ key: "requests", descending: true }}
        none="No step matches."
      />
    </>
  );
}

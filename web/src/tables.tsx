/** The tables below the charts, but for that of the steps. */

import type { ErrorLine, EventLine, Worker } from "./contract";
import { clock, count, foreign, GRPC_CODES, percent, rate, time, wallTime } from "./format";
import type { Run } from "./store";
import { Table, type Column } from "./table";

/** Failures by class, step and status, with a message of each. */
export function Failures({ run }: { run: Run }) {
  const { errors, errorsLeftOut } = run.frame;
  const { failures } = run.total;
  const columns: Column<ErrorLine>[] = [
    {
      key: "class",
      label: "Class",
      words: true,
      value: (line) => line.class ?? "other",
    },
    {
      key: "step",
      label: "Step",
      words: true,
      value: (line) => line.step,
      show: (line) =>
        line.step === "" ? (
          "–"
        ) : (
          <>
            {foreign(line.step)}
            <small>
              {foreign(line.scenario)} › {foreign(line.task)}
            </small>
          </>
        ),
    },
    {
      key: "status",
      label: "Status",
      value: (line) => line.status ?? -1,
      show: (line) => line.status ?? "–",
    },
    { key: "count", label: "# Occurrences", value: (line) => line.count, show: (line) => count(line.count) },
    {
      key: "share",
      label: "Share",
      about: "Share of all failed requests",
      value: (line) => line.count,
      show: (line) => (failures > 0 ? percent(Math.min(1, line.count / failures)) : "–"),
    },
    {
      key: "sample",
      label: "Message of one of them",
      words: true,
      value: (line) => line.sample,
      show: (line) => <span class="sample">{foreign(line.sample)}</span>,
    },
  ];
  return (
    <>
      <Table
        label="Failures"
        columns={columns}
        rows={errors}
        id={(line) => `${line.class}/${line.scenario}/${line.task}/${line.step}/${line.status}`}
        none="No failures so far."
      />
      {errorsLeftOut > 0 && <p>{count(errorsLeftOut)} failures of further kinds are not listed.</p>}
    </>
  );
}

const WORKER_STATES = {
  connected: "connected",
  ready: "ready",
  working: "at work",
  done: "done",
  gone: "gone",
};

/** What keeps workers from being ready. */
export function Problems({ run }: { run: Run }) {
  const { problems } = run.frame.progress;
  if (problems.length === 0) return null;
  return (
    <section class="panel problem" aria-labelledby="problems-title">
      <h2 id="problems-title">The run cannot start yet</h2>
      <ul>
        {problems.map(({ worker, field, object, message }) => (
          <li key={`${worker}/${field}/${message}`}>
            Worker {worker}: {foreign([field, object, message].filter((text) => text !== "").join(": "))}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Workers, the busiest first. */
export function WorkersTable({ run }: { run: Run }) {
  const { workers, progress } = run.frame;
  const columns: Column<Worker>[] = [
    { key: "worker", label: "Worker", value: (w) => w.worker },
    {
      key: "place",
      label: "Place",
      about: "Region or host, as the worker says",
      words: true,
      value: (w) => w.place,
      show: (w) => (w.place === "" ? "–" : foreign(w.place)),
    },
    { key: "state", label: "State", words: true, value: (w) => WORKER_STATES[w.state] ?? w.state },
    { key: "users", label: "Users", value: (w) => w.users, show: (w) => count(w.users) },
    { key: "cpu", label: "CPU", about: "Share of its cores", value: (w) => w.cpu, show: (w) => percent(w.cpu) },
    {
      key: "lag",
      label: "Lag p99",
      about: "Time by which actions began late, 99th percentile",
      value: (w) => w.lag,
      show: (w) => time(w.lag),
    },
    { key: "requests", label: "# Requests", value: (w) => w.requests, show: (w) => count(w.requests) },
    { key: "failures", label: "# Fails", value: (w) => w.failures, show: (w) => count(w.failures) },
    { key: "p95", label: "95%ile", value: (w) => w.p95, show: (w) => time(w.p95) },
    {
      key: "why",
      label: "Bottleneck",
      about: "Why the worker itself limits the load",
      words: true,
      value: (w) => w.why,
      show: (w) => (w.why === "" ? "no" : foreign(w.why)),
    },
  ];
  return (
    <>
      <p>
        {count(progress.connected)} of {count(progress.workers)} connected, {count(progress.ready)}{" "}
        ready or at work{workers.lost > 0 ? `, ${count(workers.lost)} lost` : ""}; together they use{" "}
        {percent(workers.cpu)} of their cores.
      </p>
      <Table
        label="Workers"
        columns={columns}
        rows={workers.list}
        id={(worker) => `${worker.worker}/${worker.place}/${worker.state}`}
        none="No worker has connected yet."
      />
      {workers.leftOut > 0 && <p>{count(workers.leftOut)} less busy workers are not listed.</p>}
    </>
  );
}

type Code = [code: number, count: number];

/** Answers by their status, of HTTP and of gRPC. */
export function Answers({ run }: { run: Run }) {
  const { http, grpc } = run.frame.answers;
  const columns = (label: string, name: (code: number) => string, all: Code[]): Column<Code>[] => {
    const sum = all.reduce((sum, [, number]) => sum + number, 0);
    return [
      { key: "code", label, value: ([code]) => code },
      { key: "name", label: "Meaning", words: true, value: ([code]) => name(code) },
      { key: "count", label: "# Answers", value: ([, n]) => n, show: ([, n]) => count(n) },
      { key: "share", label: "Share", value: ([, n]) => n, show: ([, n]) => percent(sum > 0 ? n / sum : 0) },
    ];
  };
  return (
    <div class="pair">
      <section>
        <h3>HTTP status codes</h3>
        <Table
          label="HTTP status codes"
          columns={columns("Status", meaning, http)}
          rows={http}
          id={([code]) => code}
          none="No answer over HTTP so far."
        />
      </section>
      <section>
        <h3>gRPC codes</h3>
        <Table
          label="gRPC codes"
          columns={columns("Code", (code) => GRPC_CODES[code] ?? "not in the list of gRPC", grpc)}
          rows={grpc}
          id={([code]) => code}
          none="No answer over gRPC so far."
        />
      </section>
    </div>
  );
}

function meaning(status: number): string {
  const classes = ["", "informational", "success", "redirection", "client error", "server error"];
  return classes[Math.floor(status / 100)] ?? "not in the list of HTTP";
}

/** Levels that a search for the capacity has tried. */
export function Levels({ run }: { run: Run }) {
  const { capacity } = run.frame;
  if (capacity === null) return null;
  type Level = (typeof capacity.curve)[number];
  const columns: Column<Level & { number: number }>[] = [
    { key: "number", label: "Level", value: (l) => l.number },
    { key: "rate", label: "Asked for", value: (l) => l.rate, show: (l) => `${rate(l.rate)}/s` },
    { key: "purpose", label: "Purpose", words: true, value: (l) => l.purpose },
    { key: "held", label: "Held", words: true, value: (l) => (l.held ? "yes" : "no") },
    { key: "achieved", label: "Started", value: (l) => l.achievedRate, show: (l) => `${rate(l.achievedRate)}/s` },
    { key: "failures", label: "Fails %", value: (l) => l.failureRate, show: (l) => percent(l.failureRate) },
    { key: "dropped", label: "Dropped", value: (l) => l.dropped, show: (l) => count(l.dropped) },
    { key: "p50", label: "Median", value: (l) => l.p50, show: (l) => time(l.p50) },
    { key: "p95", label: "95%ile", value: (l) => l.p95, show: (l) => time(l.p95) },
    { key: "p99", label: "99%ile", value: (l) => l.p99, show: (l) => time(l.p99) },
    { key: "why", label: "Why not", words: true, value: (l) => l.why, show: (l) => foreign(l.why) || "–" },
  ];
  return (
    <section class="panel">
      <h2>Levels of the search</h2>
      <p>
        {capacity.rate === null
          ? "No rate is confirmed yet."
          : `Confirmed: ${rate(capacity.rate)} iterations per second.`}
      </p>
      <Table
        label="Levels of the search"
        columns={columns}
        rows={capacity.curve.map((level, number) => ({ ...level, number: number + 1 }))}
        id={(level) => level.number}
        none="The first level is not over yet."
      />
    </section>
  );
}

/** What happened, newest first. */
export function Log({ run }: { run: Run }) {
  const started = run.frame.startedAt;
  const second = (event: EventLine) =>
    started === null ? undefined : (Date.parse(event.at) - Date.parse(started)) / 1e3;
  const columns: Column<EventLine & { number: number }>[] = [
    {
      key: "time",
      label: "Time",
      value: (event) => event.number,
      show: (event) => wallTime(new Date(event.at)),
    },
    {
      key: "elapsed",
      label: "Elapsed",
      value: (event) => event.number,
      show: (event) => {
        const at = second(event);
        return at === undefined || at < 0 ? "before" : clock(at);
      },
    },
    {
      key: "message",
      label: "What happened",
      words: true,
      value: (event) => event.message,
      show: (event) => <span class="sample">{foreign(event.message)}</span>,
    },
  ];
  return (
    <Table
      label="Log of events"
      columns={columns}
      rows={run.events.map((event, number) => ({ ...event, number }))}
      id={(event) => event.number}
      sort={{ key: "time", descending: true }}
      none="Nothing notable has happened yet."
    />
  );
}

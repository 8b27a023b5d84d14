/**
 * What the master tells the page: one `State` when the page opens, then one `Frame` a second.
 *
 * The other side is `src/master/ui/`, whose types have the same names. Times are microseconds, sizes
 * bytes, shares 0 to 1, unless a field says otherwise. Every text may come from the target or from a
 * worker: it is shown as text, never as markup.
 */

/** Answer to `GET api/v1/ui/state`. */
export interface State {
  /** Version of this contract; a page that knows another one asks for a reload. */
  version: number;
  /** True if this login may stop the run and change its load. */
  mayControl: boolean;
  /** True if the server ends soon after the run, so that the page keeps what can be downloaded. */
  endsWithRun: boolean;
  run: Run;
  /** Names of all steps that have samples; `Step.place` is an index into this list. */
  stepNames: StepName[];
  /** Rules of the thresholds; of a search for the capacity they come with its first level. */
  thresholds: Rule[];
  /** The run so far, oldest first. */
  series: Point[];
  /** Files that the server offers now or when the run is over. */
  downloads: Download[];
  /** Everything that changes; it has every step, and every event so far. */
  frame: Frame;
}

/** What is known of a run before it starts. */
export interface Run {
  id: string;
  name: string;
  namespace: string | null;
  target: string;
  digest: string;
  seed: string;
  /** Arguments by which the command line changed the test. */
  overrides: string[];
  /** Warnings found when the test was checked. */
  warnings: string[];
  /** Length of the warm-up. */
  warmupMicros: number;
  /** The plan as the result has it. */
  plan: Plan;
  /** True if iterations start at a rate, whether or not earlier ones have ended. */
  open: boolean;
}

/** The parts of a plan that the page reads; the rest is shown as JSON. */
export interface Plan {
  target?: { url?: string };
  scenarios?: { name?: string; tasks?: { name?: string; weight?: number }[] }[];
  populations?: { scenarios?: number[]; load?: Record<string, unknown> }[];
  thresholds?: unknown[];
  /** What people may do by hand; anything where it says nothing. */
  control?: { allowed?: "Allowed" | "StopOnly" };
}

export interface StepName {
  /** Method of HTTP, or `gRPC`. */
  type: string;
  scenario: string;
  task: string;
  step: string;
}

export interface Download {
  /** Words of the link, such as `JSON`. */
  label: string;
  /** Relative address. */
  href: string;
  /** Name under which the file is kept. */
  file: string;
}

/** One second of the run, or several when a long series has been thinned. */
export interface Point {
  /** Number of the first second, since the run's zero. */
  second: number;
  /** Seconds from the first to the last that are summed up. */
  seconds: number;
  requests: number;
  failures: number;
  /** Users alive, or busy slots of open load, at the end of the second. */
  users: number;
  /** Measured iterations that started. */
  iterations: number;
  /** Arrivals that became no iteration. */
  dropped: number;
  /** Most requests in flight at once. */
  inFlight: number;
  p50: number;
  p90: number;
  p95: number;
  p99: number;
  p999: number;
  max: number;
  /** Iterations that the profile asks for; null where it does not say. */
  wantedIterations: number | null;
  /** Users that the profile asks for at the end of the second; null where it does not say. */
  wantedUsers: number | null;
}

/** Courses of the steps that came first, at most 50. */
export interface Courses {
  /** Seconds that one point stands for; when it changes, the page asks for the state. */
  resolution: number;
  /** Points that are new or have changed. A point replaces the one of the same step and second. */
  points: StepPoint[];
}

/** Point of a step; `place` is an index into `State.stepNames`. */
export type StepPoint = [
  place: number,
  second: number,
  seconds: number,
  requests: number,
  failures: number,
  p50: number,
  p95: number,
  p99: number,
];

/** Latencies of successes over time, in cells. */
export interface HeatMap {
  /** Seconds that one column stands for; when it changes, the page asks for the state. */
  resolution: number;
  /** Columns that are new or have changed. A column replaces the one of the same second. */
  columns: Column[];
}

export interface Column {
  second: number;
  seconds: number;
  failures: number;
  /** Row `n` has latencies up to `100 us * 10^(n/10)` that are in no lower row; row 57 the rest. */
  rows: [row: number, count: number][];
}

/** What has changed within a second. The same bytes go to every viewer. */
export interface Frame {
  /** Number of the frame, 1 more than that of the one before. */
  id: number;
  /** Seconds that one point of the series stands for; when it changes, the page asks for the state. */
  resolution: number;
  progress: Progress;
  /** Begin of the load in RFC 3339; null before. */
  startedAt: string | null;
  verdict: VerdictSoFar;
  /** Points that are new or have changed. A point replaces the one of the same second. */
  points: Point[];
  /** Latencies over time. */
  heat: HeatMap;
  /** Courses of single steps. */
  courses: Courses;
  total: Step;
  /** Steps with new samples; in a test of many, each frame has some of them. */
  steps: Step[];
  /** Phases of successes, in their order, as far as they happened. */
  phases: Phase[];
  answers: Answers;
  /** Failures, the most frequent first. */
  errors: ErrorLine[];
  /** Failures that were left out of `errors`. */
  errorsLeftOut: number;
  /** In the order of their rules; those that find no room are left out. */
  thresholds: Judgement[];
  workers: Workers;
  /** Levels of a search for the capacity; null in other runs. */
  capacity: Capacity | null;
  /** Latency and service time of successes at rising percentiles. */
  curve: [percent: number, latency: number, serviceTime: number][];
  /** Place in the log of the first of `events`. */
  eventsFrom: number;
  events: EventLine[];
}

export type MasterState =
  | "Waiting"
  | "Ready"
  | "Preparing"
  | "Running"
  | "Stopping"
  | "Recovering"
  | "Lost"
  | "Finished";

/** State and counts, as `api/v1/progress` answers them. */
export interface Progress {
  state: MasterState;
  workers: number;
  connected: number;
  ready: number;
  problems: { worker: number; kind: string; field: string; object: string; message: string }[];
  elapsedMicros: number;
  /** 0 when only the run itself will tell. */
  lengthMicros: number;
  level: number | null;
  plannedIterations: number;
  iterations: number;
  requests: number;
  failures: number;
  users: number;
  rps: number;
  p95Micros: number;
  /** What one worker is doing alone, such as `setup`. */
  errand: string | null;
  /** Levels of the loads that have one. */
  load: LoadNow[];
}

/** Load of a scenario now. */
export interface LoadNow {
  /** Names of the scenarios under the load, joined by commas. */
  scenario: string;
  unit: "users" | "rate";
  /** Amount that the profile asks for. */
  planned: number;
  /** Amount that is asked for. */
  wanted: number;
  /** True if a person asked for it. */
  byHand: boolean;
}

export interface VerdictSoFar {
  /** True once the result is final. */
  final: boolean;
  /** Word of the final verdict; null before. */
  verdict: "Passed" | "Failed" | "Errored" | "Aborted" | null;
  reason: string | null;
  message: string | null;
}

/** Sums of a step, or of all. */
export interface Step {
  /** Index into `State.stepNames`; -1 for the sum of all steps. */
  place: number;
  requests: number;
  failures: number;
  /** Requests per second over the measured part so far. */
  rps: number;
  /** Bytes received. */
  bytes: number;
  checksFailed: number;
  mean: number;
  min: number;
  p50: number;
  p90: number;
  p95: number;
  p99: number;
  p999: number;
  max: number;
}

/** A phase of requests. */
export interface Phase {
  phase: string;
  /** Requests that had the phase: a connection is opened for few of them. */
  count: number;
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** Answers of all steps by status, ascending: pairs of a code and a count. */
export interface Answers {
  http: [code: number, count: number][];
  grpc: [code: number, count: number][];
}

export interface ErrorLine {
  /** Class; null for failures that found no place in the table. */
  class: string | null;
  scenario: string;
  task: string;
  step: string;
  status: number | null;
  count: number;
  /** Message of one of them. */
  sample: string;
}

/** Rule of a threshold. */
export interface Rule {
  metric: string;
  expr: string;
  /** Selection that it is narrowed to, as written. */
  select: Record<string, unknown>;
  windowMicros: number | null;
  abortOnFail: boolean;
  /** Quantity of the bound: `time` is in microseconds. */
  quantity: "time" | "share" | "perSecond" | "count" | "bytes" | "number";
  bound: number;
  /** True if the bound must not be exceeded, false if it must be reached. */
  ceiling: boolean;
}

/** Judgement of a threshold, by what was observed so far. */
export interface Judgement {
  observedText: string;
  verdict: "Passed" | "Failed" | "NotJudged";
}

export interface Workers {
  /** Workers that were lost so far. */
  lost: number;
  /** Share of their cores that all of them use. */
  cpu: number;
  /** The busiest, by index. */
  list: Worker[];
  /** Workers that were left out of the list. */
  leftOut: number;
}

export interface Worker {
  worker: number;
  place: string;
  state: "connected" | "ready" | "working" | "done" | "gone";
  users: number;
  requests: number;
  failures: number;
  p95: number;
  /** CPU time used, as a share of its cores. */
  cpu: number;
  /** 99th percentile of the schedule lag. */
  lag: number;
  /** Why it is the bottleneck; empty if it is not. */
  why: string;
}

export interface Capacity {
  rate: number | null;
  curve: {
    rate: number;
    purpose: string;
    held: boolean;
    why: string;
    achievedRate: number;
    failureRate: number;
    dropped: number;
    p50: number;
    p95: number;
    p99: number;
  }[];
}

export interface EventLine {
  /** Time in RFC 3339. */
  at: string;
  message: string;
}

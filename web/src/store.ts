/** What the page knows of the run: the state it was given, and every frame since. */

import { fetchFile } from "./api";
import type { Column, Download, EventLine, Frame, Judgement, Point, Rule, State, Step, StepPoint } from "./contract";

/** Version of the contract that this page knows. */
export const VERSION = 1;

/** Points above which a series that grew here is fetched anew, thinned by the master. */
const MAX_POINTS = 2400;

/** Seconds over which the present rate of a step is taken. */
const RATE_OVER = 10;

/** Requests per second and failures per second of a step, over the last seconds. */
export interface Rates {
  requests: number;
  failures: number;
}

interface Reading {
  /** Time since the run's zero, in seconds. */
  at: number;
  requests: number;
  failures: number;
}

/** The run as the page shows it. */
export class Run {
  readonly state: State;
  frame: Frame;
  series: Point[];
  /** The sum of all steps. */
  total: Step;
  /** Steps by their place. */
  steps: Map<number, Step>;
  events: EventLine[];
  columns: Column[];
  /** Points of single steps by their place, oldest first. */
  courses: Map<number, StepPoint[]>;
  /** Addresses of the files that this page keeps, by their address on the server. */
  readonly files = new Map<string, string>();
  private readings = new Map<number, Reading[]>();

  constructor(state: State) {
    this.state = state;
    this.frame = state.frame;
    this.series = state.series;
    this.total = state.frame.total;
    this.steps = new Map(state.frame.steps.map((step) => [step.place, step]));
    this.events = state.frame.events;
    this.columns = state.frame.heat.columns;
    this.courses = new Map();
    this.addToCourses(state.frame.courses.points);
    this.read([this.total, ...this.steps.values()]);
  }

  /**
   * Takes a frame over. False if the run has to be fetched anew, since frames are missing or the
   * series has been thinned. A frame that is known already changes nothing.
   */
  apply(frame: Frame): boolean {
    if (frame.id <= this.frame.id) return true;
    if (frame.id !== this.frame.id + 1 || frame.resolution !== this.frame.resolution) return false;
    if (frame.heat.resolution !== this.frame.heat.resolution) return false;
    if (frame.courses.resolution !== this.frame.courses.resolution) return false;
    if (frame.eventsFrom > this.events.length || this.series.length > MAX_POINTS) return false;
    if (frame.thresholds.length > this.state.thresholds.length) return false;
    this.frame = frame;
    this.total = frame.total;
    for (const step of frame.steps) this.steps.set(step.place, step);
    // the state may know more events and points than the frame that was next to be made
    const { eventsFrom, events } = frame;
    this.events = [
      ...this.events.slice(0, eventsFrom),
      ...events,
      ...this.events.slice(eventsFrom + events.length),
    ];
    this.series = replaced(this.series, frame.points);
    this.columns = replaced(this.columns, frame.heat.columns);
    this.addToCourses(frame.courses.points);
    this.read([frame.total, ...frame.steps]);
    return true;
  }

  /** Fetches everything that can be downloaded, to have it when the server is gone. */
  async keepFiles(): Promise<void> {
    const keep = async ({ href }: Download) => {
      this.files.set(href, URL.createObjectURL(await fetchFile(href)));
    };
    // the link of a file that did not come leads to the server, as long as it is there
    await Promise.allSettled(this.state.downloads.map(keep));
  }

  /** Rates of a step now; undefined while too little is known. */
  rates(place: number): Rates | undefined {
    if (this.frame.progress.state !== "Running") return { requests: 0, failures: 0 };
    const since = this.elapsed - RATE_OVER - 1;
    const known = this.readings.get(place) ?? [];
    if (known.length === 0) return undefined;
    const readings = known.filter((reading) => reading.at >= since);
    const [first, last] = [readings[0], readings[readings.length - 1]];
    // the master tells of a step only what is new
    if (!first || !last) return { requests: 0, failures: 0 };
    const until = this.elapsed - last.at > RATE_OVER / 2 ? this.elapsed : last.at;
    const seconds = until - first.at;
    if (seconds < 0.5) return undefined;
    return {
      requests: (last.requests - first.requests) / seconds,
      failures: (last.failures - first.failures) / seconds,
    };
  }

  /** Every threshold: its rule, and what was observed of it. */
  get thresholds(): { rule: Rule; judgement: Judgement }[] {
    const untold: Judgement = { observedText: "", verdict: "NotJudged" };
    return this.state.thresholds.map((rule, place) => ({
      rule,
      judgement: this.frame.thresholds[place] ?? untold,
    }));
  }

  /** Seconds since the run's zero. */
  get elapsed(): number {
    return this.frame.progress.elapsedMicros / 1e6;
  }

  /** Wall time of a second of the run; undefined before the start. */
  wallTime(second: number): Date | undefined {
    const { startedAt } = this.frame;
    return startedAt === null ? undefined : new Date(Date.parse(startedAt) + second * 1e3);
  }

  private addToCourses(points: StepPoint[]): void {
    for (const point of points) {
      const [place, second] = point;
      const course = this.courses.get(place) ?? [];
      this.courses.set(place, course);
      // the state may know more than the frame that was next to be made
      while (course.length > 0 && course[course.length - 1]![1] >= second) course.pop();
      course.push(point);
    }
  }

  private read(steps: Step[]): void {
    const at = this.elapsed;
    for (const { place, requests, failures } of steps) {
      const readings = (this.readings.get(place) ?? []).filter(
        (reading) => reading.at >= at - RATE_OVER - 1 && reading.at < at,
      );
      readings.push({ at, requests, failures });
      this.readings.set(place, readings);
    }
  }
}

/** Items by second, with those of the same seconds replaced. */
function replaced<Item extends { second: number }>(known: Item[], news: Item[]): Item[] {
  const [first, last] = [news[0], news[news.length - 1]];
  if (!first || !last) return known;
  const before = known.filter(({ second }) => second < first.second);
  const after = known.filter(({ second }) => second > last.second);
  return [...before, ...news, ...after];
}

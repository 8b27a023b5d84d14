/** What the reader has chosen to see. It stands in the address, so that a link shows the same. */

import { METRIC_NAMES, type Metric } from "./metric";

export const TABS = ["steps", "failures", "workers", "answers", "plan", "log"] as const;
export type Tab = (typeof TABS)[number];

/** Percentiles that the charts can show, with the field of a point that has them. */
export const PERCENTILES = [
  { key: "50", label: "p50", field: "p50" },
  { key: "90", label: "p90", field: "p90" },
  { key: "95", label: "p95", field: "p95" },
  { key: "99", label: "p99", field: "p99" },
  { key: "99.9", label: "p99.9", field: "p999" },
  { key: "max", label: "max", field: "max" },
] as const;

export interface View {
  /** Table that is shown; undefined for the one that fits the state of the run. */
  tab: Tab | undefined;
  /** Part of the run that the charts show, in seconds; undefined follows `span`. */
  zoom: { from: number; to: number } | undefined;
  /** Seconds of the newest part that is shown without a zoom; 0 for the whole run. */
  span: number;
  /** Keys of the percentiles that are shown. */
  percentiles: string[];
  /** Seconds over which rates are averaged. */
  over: number;
  /** Places of the steps whose course is shown; the slowest if there are none. */
  steps: number[];
  /** What is shown of them. */
  metric: Metric;
}

/** Seconds of a run beyond which only the newest part is shown at first. */
export const LONG = 600;

export const DEFAULT: View = {
  tab: undefined,
  zoom: undefined,
  span: LONG,
  percentiles: ["50", "95", "99"],
  over: 1,
  steps: [],
  metric: "p95",
};

/** Reads a view from the part of an address behind `#`. What it does not understand is left out. */
export function read(hash: string): View {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const view = { ...DEFAULT };
  const tab = TABS.find((tab) => tab === fields.get("tab"));
  if (tab) view.tab = tab;
  const [from, to] = [number(fields.get("from")), number(fields.get("to"))];
  if (from !== undefined && to !== undefined && from < to) view.zoom = { from, to };
  const span = number(fields.get("span"));
  if (span !== undefined) view.span = span;
  const wanted = (fields.get("p") ?? "").split(",");
  const known = PERCENTILES.map(({ key }) => key).filter((key) => wanted.includes(key));
  if (known.length > 0) view.percentiles = known;
  const over = number(fields.get("over"));
  if (over === 10 || over === 60) view.over = over;
  const steps = (fields.get("step") ?? "").split(",").map(number);
  view.steps = steps.filter((place) => place !== undefined && Number.isInteger(place)) as number[];
  const metric = METRIC_NAMES.find((name) => name === fields.get("m"));
  if (metric) view.metric = metric;
  return view;
}

function number(text: string | null): number | undefined {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** Writes what differs from the default view. */
export function write(view: View): string {
  const fields = new URLSearchParams();
  if (view.tab !== undefined) fields.set("tab", view.tab);
  if (view.zoom) {
    fields.set("from", view.zoom.from.toFixed(1));
    fields.set("to", view.zoom.to.toFixed(1));
  }
  if (view.span !== DEFAULT.span) fields.set("span", String(view.span));
  if (view.percentiles.join() !== DEFAULT.percentiles.join())
    fields.set("p", view.percentiles.join());
  if (view.over !== DEFAULT.over) fields.set("over", String(view.over));
  if (view.steps.length > 0) fields.set("step", view.steps.join());
  if (view.metric !== DEFAULT.metric) fields.set("m", view.metric);
  const text = fields.toString();
  return text === "" ? "" : `#${text}`;
}

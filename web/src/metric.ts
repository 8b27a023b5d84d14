/** What can be shown of the course of a step. */

import type { StepPoint } from "./contract";

export const METRICS = {
  p50: { label: "Latency p50", of: (p: StepPoint) => (p[5] > 0 ? p[5] : null), isTime: true },
  p95: { label: "Latency p95", of: (p: StepPoint) => (p[6] > 0 ? p[6] : null), isTime: true },
  p99: { label: "Latency p99", of: (p: StepPoint) => (p[7] > 0 ? p[7] : null), isTime: true },
  requests: { label: "Requests/s", of: (p: StepPoint) => p[3] / p[2], isTime: false },
  failures: { label: "Failures/s", of: (p: StepPoint) => p[4] / p[2], isTime: false },
};
export type Metric = keyof typeof METRICS;
export const METRIC_NAMES = Object.keys(METRICS) as Metric[];

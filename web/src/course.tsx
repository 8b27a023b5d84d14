/** The course of single steps: those that were chosen, or else the slowest. */

import { Chart, type Line, type Marker, type Range } from "./chart";
import type { StepPoint } from "./contract";
import { foreign, rate, time } from "./format";
import { METRIC_NAMES, METRICS, type Metric } from "./metric";
import type { Run } from "./store";
import type { View } from "./view";

/** Most steps that can be chosen. */
export const MAX_CHOSEN = 10;
/** Steps that are shown if none is chosen. */
const SLOWEST = 5;

const STYLES: { colour: string; dash?: number[] }[] = [
  { colour: "blue" },
  { colour: "orange" },
  { colour: "green" },
  { colour: "vermillion" },
  { colour: "purple" },
  { colour: "blue", dash: [8, 4] },
  { colour: "orange", dash: [8, 4] },
  { colour: "green", dash: [8, 4] },
  { colour: "vermillion", dash: [8, 4] },
  { colour: "purple", dash: [8, 4] },
];

interface Props {
  run: Run;
  view: View;
  range: Range;
  markers: Marker[];
  onView: (view: Partial<View>) => void;
  onZoom: (range: Range) => void;
}

export function StepCourses({ run, view, range, markers, onView, onZoom }: Props) {
  const { label, of, isTime } = METRICS[view.metric];
  const { resolution } = run.frame.courses;
  const places = chosen(run, view);
  const begin = (point: StepPoint) => Math.floor(point[1] / resolution) * resolution;
  const all = places.flatMap((place) => (run.courses.get(place) ?? []).map(begin));
  const seconds = [...new Set(all)].sort((a, b) => a - b);
  const lines = places.map((place, number): Line => {
    const values = new Map((run.courses.get(place) ?? []).map((p) => [begin(p), of(p)]));
    return {
      key: String(place),
      label: foreign(run.state.stepNames[place]?.step ?? "?").slice(0, 60),
      ...STYLES[number % STYLES.length]!,
      values: seconds.map((second) => values.get(second) ?? null),
    };
  });
  return (
    <Chart
      id="courses"
      title={`${label} by step`}
      about={
        view.steps.length > 0
          ? "the steps that were chosen in the table of steps"
          : `the ${SLOWEST} slowest steps`
      }
      seconds={seconds}
      lines={lines}
      markers={markers}
      range={range}
      logarithmic={isTime}
      format={isTime ? time : rate}
      wallTime={(second) => run.wallTime(second)}
      onZoom={onZoom}
      tools={
        <label>
          Show{" "}
          <select
            value={view.metric}
            onChange={(event) => onView({ metric: event.currentTarget.value as Metric })}
          >
            {METRIC_NAMES.map((name) => (
              <option key={name} value={name}>
                {METRICS[name].label}
              </option>
            ))}
          </select>
        </label>
      }
    />
  );
}

/** Places of the steps that are shown. */
function chosen(run: Run, view: View): number[] {
  const known = view.steps.filter((place) => run.courses.has(place));
  if (known.length > 0) return known.slice(0, MAX_CHOSEN);
  const p95 = (place: number) => run.steps.get(place)?.p95 ?? 0;
  return [...run.courses.keys()].sort((a, b) => p95(b) - p95(a) || a - b).slice(0, SLOWEST);
}

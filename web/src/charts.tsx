/** The charts of a run, and what of it they show. */

import type { Point, Rule } from "./contract";
import { Chart, type Bound, type Line, type Marker, type Range } from "./chart";
import { StepCourses } from "./course";
import { clock, count, rate, time } from "./format";
import { HeatMap } from "./heat";
import { Phases } from "./phases";
import type { Run } from "./store";
import { LONG, PERCENTILES, type View } from "./view";

interface Props {
  run: Run;
  view: View;
  onView: (view: Partial<View>) => void;
}

/** Colours of the percentiles, which are told apart by dashes, too. */
const STYLES: Record<string, { colour: string; dash?: number[] }> = {
  "50": { colour: "blue" },
  "90": { colour: "green", dash: [2, 3] },
  "95": { colour: "orange", dash: [8, 4] },
  "99": { colour: "vermillion", dash: [4, 3] },
  "99.9": { colour: "purple", dash: [8, 3, 2, 3] },
  max: { colour: "sky", dash: [1, 3] },
};

export function Charts({ run, view, onView }: Props) {
  const { series } = run;
  const range = visible(run, view);
  const seconds = series.map((point) => point.second);
  const markers = eventMarkers(run);
  const shared = {
    seconds,
    markers,
    range,
    wallTime: (second: number) => run.wallTime(second),
    onZoom: (zoom: Range) => onView({ zoom }),
  };
  return (
    <>
      <Toolbar run={run} view={view} range={range} onView={onView} />
      <div class="charts">
        <Chart
          {...shared}
          id="requests"
          title="Requests per second"
          about="requests that ended and requests that failed each second"
          lines={requestLines(run, view.over)}
          bounds={bounds(run, "rate")}
          format={rate}
        />
        <Chart
          {...shared}
          id="latency"
          title="Latency of successes"
          about="percentiles of the time from the intended start to the last byte"
          lines={latencyLines(series, view)}
          bounds={bounds(run, "latency")}
          logarithmic
          format={time}
        />
        <Chart
          {...shared}
          id="load"
          title={run.state.run.open ? "Busy slots, in flight, dropped" : "Users and requests in flight"}
          about="how much load there is at once"
          lines={loadLines(run)}
          format={(value) => (Number.isInteger(value) ? count(value) : rate(value))}
        />
        <StepCourses
          run={run}
          view={view}
          range={range}
          markers={markers}
          onView={onView}
          onZoom={shared.onZoom}
        />
        <HeatMap run={run} range={range} />
        <Curve run={run} />
        <Phases run={run} />
      </div>
    </>
  );
}

/** Part of the run that the charts show. */
function visible(run: Run, { zoom, span }: View): Range {
  if (zoom) return zoom;
  const last = run.series[run.series.length - 1];
  const end = Math.max(last ? last.second + last.seconds : 0, 10);
  return { from: span > 0 ? Math.max(0, end - span) : 0, to: end };
}

function Toolbar({ run, view, range, onView }: Props & { range: Range }) {
  const isLong = run.elapsed > LONG;
  const toggle = (key: string) => {
    const chosen = view.percentiles.includes(key)
      ? view.percentiles.filter((other) => other !== key)
      : [...view.percentiles, key];
    const order = PERCENTILES.map((percentile) => percentile.key as string);
    const percentiles = order.filter((other) => chosen.includes(other));
    if (percentiles.length > 0) onView({ percentiles });
  };
  return (
    <div class="tools">
      <fieldset class="choices">
        <legend>Percentiles</legend>
        {PERCENTILES.map(({ key, label }) => (
          <label key={key}>
            <input
              type="checkbox"
              checked={view.percentiles.includes(key)}
              onChange={() => toggle(key)}
            />
            {label}
          </label>
        ))}
      </fieldset>
      <label>
        Rates over{" "}
        <select
          value={String(view.over)}
          onChange={(event) => onView({ over: Number(event.currentTarget.value) })}
        >
          <option value="1">1 s</option>
          <option value="10">10 s</option>
          <option value="60">60 s</option>
        </select>
      </label>
      {isLong && (
        <label>
          Show{" "}
          <select
            value={String(view.span)}
            onChange={(event) =>
              onView({ span: Number(event.currentTarget.value), zoom: undefined })
            }
          >
            <option value="60">the last minute</option>
            <option value={String(LONG)}>the last 10 minutes</option>
            <option value="0">all</option>
          </select>
        </label>
      )}
      {view.zoom && (
        <p class="zoomed">
          {clock(range.from)} to {clock(range.to)}{" "}
          <button type="button" onClick={() => onView({ zoom: undefined })}>
            Show all
          </button>
        </p>
      )}
    </div>
  );
}

/** A count as a rate, averaged over the seconds up to its point. */
function perSecond(series: Point[], over: number, of: (point: Point) => number): number[] {
  let [sum, seconds, first] = [0, 0, 0];
  return series.map((point) => {
    sum += of(point);
    seconds += point.seconds;
    while (first < series.length && point.second - series[first]!.second >= over) {
      sum -= of(series[first]!);
      seconds -= series[first]!.seconds;
      first += 1;
    }
    // a point that stands for more than the window is the window
    return seconds > 0 ? sum / seconds : of(point) / Math.max(1, point.seconds);
  });
}

function requestLines(run: Run, over: number): Line[] {
  const { series } = run;
  const lines: Line[] = [
    {
      key: "requests",
      label: "Requests/s",
      colour: "blue",
      values: perSecond(series, over, (point) => point.requests),
    },
    {
      key: "failures",
      label: "Failures/s",
      colour: "vermillion",
      dash: [4, 3],
      values: perSecond(series, over, (point) => point.failures),
    },
  ];
  if (run.state.run.open) {
    const isWanted = (point: Point) => point.wantedIterations !== null;
    const wanted = perSecond(series, over, (point) => point.wantedIterations ?? 0);
    lines.push(
      {
        key: "iterations",
        label: "Iterations started/s",
        colour: "green",
        dash: [2, 3],
        values: perSecond(series, over, (point) => point.iterations),
      },
      {
        key: "wanted",
        label: "Iterations requested/s",
        colour: "text",
        dash: [9, 5],
        values: series.map((point, index) => (isWanted(point) ? wanted[index]! : null)),
      },
    );
  }
  return lines;
}

function latencyLines(series: Point[], view: View): Line[] {
  const chosen = PERCENTILES.filter(({ key }) => view.percentiles.includes(key));
  return chosen.map(({ key, label, field }) => ({
    key,
    label,
    ...STYLES[key]!,
    values: series.map((point) => (point[field] > 0 ? point[field] : null)),
  }));
}

function loadLines(run: Run): Line[] {
  const { series, state } = run;
  const lines: Line[] = [
    {
      key: "users",
      label: state.run.open ? "Busy slots" : "Users",
      colour: "blue",
      values: series.map((point) => point.users),
    },
    {
      key: "in-flight",
      label: "In flight, most",
      colour: "green",
      dash: [2, 3],
      values: series.map((point) => point.inFlight),
    },
  ];
  if (series.some((point) => point.wantedUsers !== null)) {
    lines.push({
      key: "wanted",
      label: "Users requested",
      colour: "text",
      dash: [9, 5],
      values: series.map((point) => point.wantedUsers),
    });
  }
  if (state.run.open) {
    lines.push({
      key: "dropped",
      label: "Dropped/s",
      colour: "vermillion",
      dash: [4, 3],
      values: perSecond(series, 1, (point) => point.dropped),
    });
  }
  return lines;
}

/** Bounds of the thresholds whose metric a chart shows: those that judge all steps. */
function bounds(run: Run, chart: "latency" | "rate"): Bound[] {
  const isShown = ({ metric, select, quantity }: Rule) =>
    Object.keys(select).length === 0 &&
    (chart === "latency"
      ? metric === "latency" && quantity === "time"
      : ["requests", "achieved"].includes(metric) && quantity === "perSecond");
  return run.state.thresholds
    .filter(isShown)
    .map(({ metric, expr, bound, ceiling }) => ({
      value: bound,
      label: `${metric} ${expr}`,
      ceiling,
    }));
}

function eventMarkers(run: Run): Marker[] {
  const { startedAt } = run.frame;
  if (startedAt === null) return [];
  const zero = Date.parse(startedAt);
  return run.events
    .map(({ at, message }) => ({ second: (Date.parse(at) - zero) / 1e3, label: message }))
    .filter(({ second }) => second >= 0);
}

/** The latency at rising percentiles, as a drawing with attributes only. */
function Curve({ run }: { run: Run }) {
  const { curve } = run.frame;
  return (
    <section class="panel chart" aria-labelledby="curve-title">
      <header>
        <h2 id="curve-title">Latency by percentile</h2>
        <p class="moment">whole run so far</p>
      </header>
      <p class="key">
        <svg width="22" height="8" aria-hidden="true" class="stroke-blue">
          <line x1="0" y1="4" x2="22" y2="4" stroke-width="2.5" />
        </svg>
        <span>latency, from the intended start</span>
        <svg width="22" height="8" aria-hidden="true" class="stroke-orange">
          <line x1="0" y1="4" x2="22" y2="4" stroke-width="2.5" stroke-dasharray="8 4" />
        </svg>
        <span>service time, from the first byte sent</span>
      </p>
      {curve.length < 2 ? (
        <p class="none">Drawn when enough requests have succeeded.</p>
      ) : (
        <>
          <CurveDrawing curve={curve} />
          <details class="data">
            <summary>Show data</summary>
            <div class="scroll" tabIndex={0} role="region" aria-label="Data of latency by percentile">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Percentile</th>
                    <th scope="col">Latency</th>
                    <th scope="col">Service time</th>
                  </tr>
                </thead>
                <tbody>
                  {curve.map(([percent, latency, serviceTime]) => (
                    <tr key={percent}>
                      <th scope="row">{percent}%</th>
                      <td>{time(latency)}</td>
                      <td>{time(serviceTime)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </details>
        </>
      )}
    </section>
  );
}

const WIDTH = 560;
const HEIGHT = 260;
const LEFT = 78;
const BOTTOM = 26;
const TOP = 14;

function CurveDrawing({ curve }: { curve: [number, number, number][] }) {
  // each further nine of a percentile has the same width
  const nines = (percent: number) => -Math.log10(1 - Math.min(percent, 99.9999) / 100);
  const width = nines(curve[curve.length - 1]![0]) || 1;
  const values = curve.flatMap(([, latency, serviceTime]) => [
    Math.max(1, latency),
    Math.max(1, serviceTime),
  ]);
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const x = (percent: number) => LEFT + (nines(percent) / width) * (WIDTH - LEFT - 24);
  const y = (micros: number) =>
    TOP + ((high - Math.log10(Math.max(1, micros))) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const points = (of: 1 | 2) =>
    curve.map((point) => `${x(point[0]).toFixed(1)},${y(point[of]).toFixed(1)}`).join(" ");
  const decades = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
  const ticks = [50, 90, 99, 99.9, 99.99, 99.999].filter((tick) => nines(tick) <= width + 1e-9);
  const words = [50, 90, 95, 99, 99.9]
    .flatMap((wanted) => curve.filter(([percent]) => percent === wanted))
    .map(([percent, micros]) => `${percent}%: ${time(micros)}`);
  return (
    <svg
      class="curve"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`Latency by percentile. ${words.join(", ")}`}
    >
      {decades.map((micros) => (
        <g key={micros}>
          <line class="grid" x1={LEFT} x2={WIDTH - 24} y1={y(micros)} y2={y(micros)} />
          <text x={LEFT - 8} y={y(micros) + 4} text-anchor="end">
            {time(micros)}
          </text>
        </g>
      ))}
      {ticks.map((percent) => (
        <g key={percent}>
          <line class="grid" x1={x(percent)} x2={x(percent)} y1={TOP} y2={HEIGHT - BOTTOM} />
          <text x={x(percent)} y={HEIGHT - 8} text-anchor="middle">
            {percent}%
          </text>
        </g>
      ))}
      <polyline class="stroke-blue" points={points(1)} fill="none" stroke-width="2" />
      <polyline
        class="stroke-orange"
        points={points(2)}
        fill="none"
        stroke-width="2"
        stroke-dasharray="8 4"
      />
    </svg>
  );
}

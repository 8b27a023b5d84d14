/** One chart over the time of the run: lines, bounds, events, and the same numbers as a table. */

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { clock, wallTime } from "./format";

/** A line of a chart. */
export interface Line {
  key: string;
  label: string;
  /** Colour, as the name of a variable of the style sheet. */
  colour: string;
  /** Lengths of dashes and gaps; a whole line without them. */
  dash?: number[];
  values: (number | null)[];
}

/** A bound that a threshold sets. */
export interface Bound {
  value: number;
  label: string;
  /** True if values above it breach it, else those below. */
  ceiling: boolean;
}

/** A moment at which something happened. */
export interface Marker {
  second: number;
  label: string;
}

export interface Range {
  from: number;
  to: number;
}

interface Props {
  id: string;
  title: string;
  /** What the numbers are, in a few words. */
  about: string;
  seconds: number[];
  lines: Line[];
  bounds?: Bound[];
  markers: Marker[];
  range: Range;
  logarithmic?: boolean;
  format: (value: number) => string;
  wallTime: (second: number) => Date | undefined;
  onZoom: (range: Range) => void;
  /** What changes the chart, beside its title. */
  tools?: ComponentChildren;
}

const HEIGHT = 220;
/** Most rows of the table beside a chart. */
const MAX_ROWS = 60;

export function Chart(props: Props) {
  const { id, title, about, seconds, lines, markers, range, format } = props;
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [cursor, setCursor] = useState<number | undefined>(undefined);
  const [spoken, setSpoken] = useState("");
  const shown = lines.filter((line) => !hidden.has(line.key));
  const plot = usePlot(props, shown, setCursor);
  const at = cursor ?? lastWithin(seconds, range);
  const second = at === undefined ? undefined : seconds[at];
  const happened =
    cursor === undefined || second === undefined ? undefined : near(markers, second, range);

  const value = (line: Line) => {
    const found = at === undefined ? null : (line.values[at] ?? null);
    return found === null ? "–" : format(found);
  };
  const toggle = (key: string) => {
    const next = new Set(hidden);
    if (!next.delete(key)) next.add(key);
    setHidden(next);
  };
  const move = (event: KeyboardEvent) => {
    const next = moved(event.key, at, seconds, range);
    if (next === undefined) return;
    event.preventDefault();
    if (next === "leave") {
      plot.point(undefined);
      setSpoken("");
      return;
    }
    plot.point(next);
    const words = shown.map((line) => {
      const found = line.values[next] ?? null;
      return `${line.label} ${found === null ? "none" : format(found)}`;
    });
    setSpoken(`${clock(seconds[next]!)}: ${words.join(", ")}`);
  };
  const wall = second === undefined ? undefined : props.wallTime(second);

  return (
    <section class="panel chart" aria-labelledby={`${id}-title`}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {props.tools}
        <p class="moment">
          {second === undefined
            ? ""
            : `${cursor === undefined ? "latest, " : ""}${clock(second)}${wall ? ` · ${wallTime(wall)}` : ""}`}
        </p>
      </header>
      <ul class="legend">
        {lines.map((line) => (
          <li key={line.key}>
            <button
              type="button"
              aria-pressed={!hidden.has(line.key)}
              onClick={() => toggle(line.key)}
            >
              <svg width="22" height="8" aria-hidden="true" class={`stroke-${line.colour}`}>
                <line x1="0" y1="4" x2="22" y2="4" stroke-width="2.5" stroke-dasharray={line.dash?.join(" ")} />
              </svg>
              {line.label} <b>{value(line)}</b>
            </button>
          </li>
        ))}
      </ul>
      <div
        class="plot"
        ref={plot.element}
        tabIndex={0}
        role="group"
        aria-roledescription="chart"
        aria-label={`${title}: ${about}. Left and right arrow keys move through time.`}
        onKeyDown={move}
      />
      <p class="happened">{happened?.label ?? ""}</p>
      <p class="hidden-words" aria-live="polite">
        {spoken}
      </p>
      <DataTable {...props} />
    </section>
  );
}

/** The numbers of the part that is shown, newest first. */
function DataTable({ title, seconds, lines, range, format, wallTime: wall }: Props) {
  const [open, setOpen] = useState(false);
  const within = seconds
    .map((second, index) => ({ second, index }))
    .filter(({ second }) => second >= range.from && second <= range.to);
  const rows = open ? within.slice(-MAX_ROWS).reverse() : [];
  return (
    <details
      class="data"
      open={open}
      onToggle={(event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}
    >
      <summary>Show data</summary>
      {open && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Data of ${title}`}>
          <table>
            <caption>
              {within.length > MAX_ROWS
                ? `The newest ${MAX_ROWS} of ${within.length} points that are shown; zoom in for others.`
                : `All ${within.length} points that are shown.`}
            </caption>
            <thead>
              <tr>
                <th scope="col">Elapsed</th>
                <th scope="col">Time</th>
                {lines.map((line) => (
                  <th scope="col" key={line.key}>
                    {line.label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map(({ second, index }) => {
                const at = wall(second);
                return (
                  <tr key={second}>
                    <th scope="row">{clock(second)}</th>
                    <td>{at ? wallTime(at) : "–"}</td>
                    {lines.map((line) => {
                      const value = line.values[index] ?? null;
                      return <td key={line.key}>{value === null ? "–" : format(value)}</td>;
                    })}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

/** Place of the newest point of a range. */
function lastWithin(seconds: number[], range: Range): number | undefined {
  for (let index = seconds.length - 1; index >= 0; index -= 1) {
    if (seconds[index]! <= range.to) return seconds[index]! >= range.from ? index : undefined;
  }
  return undefined;
}

/** The event next to a second, if it is no further than a fiftieth of the range. */
function near(markers: Marker[], second: number, range: Range): Marker | undefined {
  const reach = Math.max((range.to - range.from) / 50, 1);
  const distance = (marker: Marker) => Math.abs(marker.second - second);
  const close = markers.filter((marker) => distance(marker) <= reach);
  return close.sort((a, b) => distance(a) - distance(b))[0];
}

/** Where a key moves the cursor; undefined for a key that means nothing here. */
function moved(
  key: string,
  at: number | undefined,
  seconds: number[],
  range: Range,
): number | "leave" | undefined {
  const first = seconds.findIndex((second) => second >= range.from);
  const last = lastWithin(seconds, range);
  if (key === "Escape") return "leave";
  if (first < 0 || last === undefined) return undefined;
  const from = at ?? last;
  switch (key) {
    case "ArrowLeft":
      return Math.max(first, from - 1);
    case "ArrowRight":
      return Math.min(last, from + 1);
    case "PageUp":
      return Math.max(first, from - 10);
    case "PageDown":
      return Math.min(last, from + 10);
    case "Home":
      return first;
    case "End":
      return last;
    default:
      return undefined;
  }
}

/** Names of the variables of the style sheet that a plot draws with. */
const INK = ["text-weak", "grid", "breach", "marker", "panel"] as const;

/** Keeps a plot in an element, up to date with the properties. */
function usePlot(
  props: Props,
  shown: Line[],
  onCursor: (index: number | undefined) => void,
): { element: { current: HTMLDivElement | null }; point: (index: number | undefined) => void } {
  const element = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const scheme = useScheme();
  const form = [scheme, props.logarithmic, ...shown.map((line) => line.key)].join();
  const data = [props.seconds, ...shown.map((line) => line.values)] as uPlot.AlignedData;

  useLayoutEffect(() => {
    const box = element.current!;
    const made = new uPlot(options(box, latest, shown, onCursor), data, box);
    plot.current = made;
    const fit = new ResizeObserver(() =>
      made.setSize({ width: Math.max(box.clientWidth, 120), height: HEIGHT }),
    );
    fit.observe(box);
    return () => {
      fit.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [form]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    made.batch(() => {
      made.setData(data, false);
      made.setScale("x", { min: props.range.from, max: props.range.to });
    });
  });

  const point = useMemo(
    () => (index: number | undefined) => {
      const made = plot.current;
      if (!made) return;
      const second = index === undefined ? undefined : latest.current.seconds[index];
      const left = second === undefined ? -10 : made.valToPos(second, "x");
      made.setCursor({ left, top: second === undefined ? -10 : 20 });
    },
    [],
  );
  return { element, point };
}

/** Whether the page is light or dark, and whether colours are forced. */
function useScheme(): string {
  const queries = useMemo(
    () => ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((q) => matchMedia(q)),
    [],
  );
  const read = () => queries.map((query) => query.matches).join();
  const [scheme, setScheme] = useState(read);
  useEffect(() => {
    const change = () => setScheme(read());
    queries.forEach((query) => query.addEventListener("change", change));
    return () => queries.forEach((query) => query.removeEventListener("change", change));
  }, []);
  return scheme;
}

function options(
  box: HTMLElement,
  latest: { current: Props },
  shown: Line[],
  onCursor: (index: number | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(box);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const ink = Object.fromEntries(INK.map((name) => [name, colour(name)]));
  const font = `12px ${style.fontFamily}`;
  const { logarithmic } = latest.current;
  const axis: uPlot.Axis = {
    stroke: ink["text-weak"]!,
    font,
    grid: { stroke: ink.grid!, width: 1 },
    ticks: { show: false },
  };
  return {
    width: Math.max(box.clientWidth, 120),
    height: HEIGHT,
    legend: { show: false },
    padding: [10, 12, 0, 0],
    scales: {
      x: { time: false, auto: false },
      y: logarithmic
        ? { distr: 3, range: (_plot, min, max) => decades(min, max) }
        : { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    series: [
      {},
      ...shown.map((line): uPlot.Series => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 2,
        ...(line.dash ? { dash: line.dash } : {}),
        // a line needs two points; a single one is drawn as such
        points: { show: (plot) => plot.data[0].length < 3 },
      })),
    ],
    axes: [
      { ...axis, size: 30, space: 70, values: (_plot, splits) => splits.map(clock), incrs: INCREMENTS },
      {
        ...axis,
        size: 64,
        values: (_plot, splits) =>
          splits.map((value) => (value === null ? null : latest.current.format(value))),
      },
    ],
    cursor: {
      y: false,
      sync: { key: "run" },
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
    },
    hooks: {
      setCursor: [
        (plot) => onCursor(plot.cursor.left! < 0 ? undefined : (plot.cursor.idx ?? undefined)),
      ],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          latest.current.onZoom({
            from: plot.posToVal(left, "x"),
            to: plot.posToVal(left + width, "x"),
          });
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      // the area of a breach lies under the lines, what is written upon them
      drawClear: [(plot) => drawBounds(plot, latest.current.bounds ?? [], ink)],
      draw: [
        (plot) => drawLabels(plot, latest.current.bounds ?? [], ink, font),
        (plot) => drawMarkers(plot, latest.current.markers, ink),
      ],
    },
  };
}

/** Distances of ticks over time, in seconds. */
const INCREMENTS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** Whole decades around the values, so that the axis does not jump each second. */
function decades(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || !(min > 0)) return [1e3, 1e5];
  const low = 10 ** Math.floor(Math.log10(min));
  const high = 10 ** Math.ceil(Math.log10(max));
  return [low, high > low ? high : low * 10];
}

/** Where a bound lies on the canvas; undefined outside of the plot. */
function height(plot: uPlot, { value }: Bound): number | undefined {
  const { bbox } = plot;
  const y = plot.valToPos(value, "y", true);
  return y >= bbox.top && y <= bbox.top + bbox.height ? y : undefined;
}

function drawBounds(plot: uPlot, bounds: Bound[], ink: Record<string, string>): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = 1.5 * ratio;
  ctx.setLineDash([6 * ratio, 4 * ratio]);
  ctx.fillStyle = ctx.strokeStyle = ink.breach!;
  for (const bound of bounds) {
    const y = height(plot, bound);
    if (y === undefined) continue;
    ctx.globalAlpha = 0.09;
    if (bound.ceiling) ctx.fillRect(bbox.left, bbox.top, bbox.width, y - bbox.top);
    else ctx.fillRect(bbox.left, y, bbox.width, bbox.top + bbox.height - y);
    ctx.globalAlpha = 1;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

function drawLabels(
  plot: uPlot,
  bounds: Bound[],
  ink: Record<string, string>,
  font: string,
): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = font.replace("12px", `${11 * ratio}px`);
  ctx.textAlign = "right";
  ctx.lineJoin = "round";
  ctx.lineWidth = 4 * ratio;
  ctx.strokeStyle = ink.panel!;
  ctx.fillStyle = ink.breach!;
  for (const bound of bounds) {
    const y = height(plot, bound);
    if (y === undefined) continue;
    ctx.textBaseline = bound.ceiling ? "bottom" : "top";
    const [x, at] = [bbox.left + bbox.width - 4 * ratio, y + (bound.ceiling ? -3 : 3) * ratio];
    // a halo keeps the words apart from the lines
    ctx.strokeText(bound.label, x, at);
    ctx.fillText(bound.label, x, at);
  }
  ctx.restore();
}

function drawMarkers(plot: uPlot, markers: Marker[], ink: Record<string, string>): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = ink.marker!;
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  for (const { second } of markers) {
    const x = plot.valToPos(second, "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 4 * ratio, bbox.top - 7 * ratio);
    ctx.lineTo(x + 4 * ratio, bbox.top - 7 * ratio);
    ctx.lineTo(x, bbox.top);
    ctx.fill();
  }
  ctx.restore();
}

/** How many requests took how long, and when: the brighter a cell, the more of its time's requests. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Range } from "./chart";
import type { Column } from "./contract";
import { clock, count, percent, time } from "./format";
import type { Run } from "./store";

const ROWS = 58;
const MAX_TABLE_ROWS = 60;

/** Colours of viridis, from few to many. */
const VIRIDIS: [number, number, number][] = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [109, 205, 89],
  [180, 222, 44],
  [253, 231, 37],
];
const FAILED: [number, number, number] = [213, 94, 0];

/** Upper bound of a row, in microseconds. */
function bound(row: number): number {
  return 100 * 10 ** (row / 10);
}

function rowWords(row: number): string {
  if (row === 0) return `up to ${time(bound(0))}`;
  if (row === ROWS - 1) return `over ${time(bound(row - 1))}`;
  return `${time(bound(row - 1))} to ${time(bound(row))}`;
}

function successes(column: Column): number {
  return column.rows.reduce((sum, [, number]) => sum + number, 0);
}

function colour(share: number): [number, number, number] {
  // the root keeps the few slow ones in sight
  const at = Math.sqrt(Math.min(1, share)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mix = (part: 0 | 1 | 2) =>
    VIRIDIS[low]![part] + (VIRIDIS[low + 1]![part] - VIRIDIS[low]![part]) * (at - low);
  return [mix(0), mix(1), mix(2)];
}

export function HeatMap({ run, range }: { run: Run; range: Range }) {
  const { resolution } = run.frame.heat;
  const from = Math.floor(range.from / resolution) * resolution;
  const width = Math.min(300, Math.max(1, Math.ceil((range.to - from) / resolution)));
  const place = (column: Column) => Math.floor((column.second - from) / resolution);
  const columns = run.columns.filter((column) => place(column) >= 0 && place(column) < width);
  const cells = useRef<HTMLCanvasElement>(null);
  const strip = useRef<HTMLCanvasElement>(null);
  const [hovered, setHovered] = useState<{ x: number; row: number } | undefined>(undefined);

  useEffect(() => {
    paint(cells.current!, width, ROWS, (set) => {
      for (const column of columns) {
        const all = successes(column);
        for (const [row, number] of column.rows)
          set(place(column), ROWS - 1 - row, colour(number / all), 255);
      }
    });
    paint(strip.current!, width, 1, (set) => {
      for (const column of columns.filter(({ failures }) => failures > 0)) {
        const share = column.failures / (column.failures + successes(column));
        set(place(column), 0, FAILED, 90 + 165 * Math.sqrt(share));
      }
    });
  });

  const hover = (event: MouseEvent) => {
    const box = cells.current!.getBoundingClientRect();
    const share = (at: number, low: number, size: number) => (at - low) / size;
    setHovered({
      x: Math.floor(share(event.clientX, box.left, box.width) * width),
      row: ROWS - 1 - Math.floor(share(event.clientY, box.top, box.height) * ROWS),
    });
  };
  return (
    <section class="panel chart" aria-labelledby="heat-title">
      <header>
        <h2 id="heat-title">Latency over time</h2>
        <p class="moment">{resolution > 1 ? `columns of ${resolution} s` : ""}</p>
      </header>
      <p class="key">
        <span>few</span>
        <svg width="90" height="10" aria-hidden="true">
          {VIRIDIS.map((rgb, step) => (
            <rect key={step} x={step * 9} width="9" height="10" fill={`rgb(${rgb.join()})`} />
          ))}
        </svg>
        <span>many of the successes of their time</span>
      </p>
      <div class="heat" onMouseMove={hover} onMouseLeave={() => setHovered(undefined)}>
        <div class="decades" aria-hidden="true">
          {[10, 1, 0.1, 0.01, 0.001, 0.0001].map((seconds) => (
            <span key={seconds}>{time(seconds * 1e6)}</span>
          ))}
        </div>
        <canvas ref={cells} role="img" aria-label="Latency over time. The table below has the numbers." />
        <span class="strip-name">failed</span>
        <canvas ref={strip} class="strip" role="img" aria-label="Failures over time. The table below has the numbers." />
        <div class="times" aria-hidden="true">
          {[0, 0.25, 0.5, 0.75, 1].map((share) => (
            <span key={share}>{clock(from + share * width * resolution)}</span>
          ))}
        </div>
      </div>
      <p class="happened">{hovered && words(columns.find((c) => place(c) === hovered.x), hovered.row)}</p>
      <Numbers columns={columns} />
    </section>
  );
}

/** What lies under the mouse. */
function words(column: Column | undefined, row: number): string {
  if (!column) return "";
  const at = clock(column.second);
  const all = successes(column);
  if (row < 0) return `${at}: ${count(column.failures)} failed, ${count(all)} succeeded`;
  const number = column.rows.find(([known]) => known === row)?.[1] ?? 0;
  return `${at}, ${rowWords(row)}: ${count(number)}, ${percent(all > 0 ? number / all : 0)} of ${count(all)}`;
}

/** Draws one pixel a cell; the style sheet stretches them. */
function paint(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  draw: (set: (x: number, y: number, rgb: [number, number, number], alpha: number) => void) => void,
): void {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(width, height);
  draw((x, y, [red, green, blue], alpha) => {
    image.data.set([red, green, blue, alpha], 4 * (y * width + x));
  });
  context.putImageData(image, 0, 0);
}

function Numbers({ columns }: { columns: Column[] }) {
  const [open, setOpen] = useState(false);
  const most = (column: Column) =>
    column.rows.reduce((best, row) => (row[1] > best[1] ? row : best), [-1, 0]);
  const rows = open ? columns.slice(-MAX_TABLE_ROWS).reverse() : [];
  return (
    <details
      class="data"
      open={open}
      onToggle={(event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}
    >
      <summary>Show data</summary>
      {open && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Data of latency over time">
          <table>
            <caption>
              The newest {rows.length} of {columns.length} columns.
            </caption>
            <thead>
              <tr>
                <th scope="col">Elapsed</th>
                <th scope="col">Succeeded</th>
                <th scope="col">Most took</th>
                <th scope="col">Fastest</th>
                <th scope="col">Slowest</th>
                <th scope="col">Failed</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((column) => {
                const [fastest, slowest] = [column.rows[0], column.rows[column.rows.length - 1]];
                return (
                  <tr key={column.second}>
                    <th scope="row">{clock(column.second)}</th>
                    <td>{count(successes(column))}</td>
                    <td>{fastest ? rowWords(most(column)[0]) : "–"}</td>
                    <td>{fastest ? rowWords(fastest[0]) : "–"}</td>
                    <td>{slowest ? rowWords(slowest[0]) : "–"}</td>
                    <td>{count(column.failures)}</td>
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

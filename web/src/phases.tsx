/** Where the time of a request goes. */

import type { Phase } from "./contract";
import { count, foreign, time } from "./format";
import type { Run } from "./store";

const PHASES: Record<string, { name: string; colour: string }> = {
  dns: { name: "Name look-up", colour: "purple" },
  connect: { name: "Connect", colour: "sky" },
  tls: { name: "TLS", colour: "orange" },
  wait: { name: "Wait for the answer", colour: "green" },
  download: { name: "Download", colour: "blue" },
};

function fill({ phase }: Phase): string {
  return `fill-${PHASES[phase]?.colour ?? "purple"}`;
}

export function Phases({ run }: { run: Run }) {
  const { phases } = run.frame;
  const successes = run.total.requests - run.total.failures;
  // a phase that few requests have counts as little as they are
  const parts = phases.map(({ count, mean }) => (successes > 0 ? (mean * count) / successes : 0));
  const all = parts.reduce((sum, part) => sum + part, 0);
  let left = 0;
  return (
    <section class="panel chart" aria-labelledby="phases-title">
      <header>
        <h2 id="phases-title">Phases of requests</h2>
        <p class="moment">whole run so far</p>
      </header>
      {phases.length === 0 ? (
        <p class="none">Shown when a request has succeeded.</p>
      ) : (
        <>
          <p>A request takes {time(all)} on average:</p>
          <svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true">
            {parts.map((part, place) => {
              const [x, width] = [left, all > 0 ? (part / all) * 1000 : 0];
              left += width;
              return (
                <rect
                  key={phases[place]!.phase}
                  class={fill(phases[place]!)}
                  x={x}
                  width={width}
                  height="24"
                />
              );
            })}
          </svg>
          <div class="scroll" tabIndex={0} role="region" aria-label="Times of the phases">
            <table>
              <thead>
                <tr>
                  <th scope="col" class="words">
                    Phase
                  </th>
                  <th scope="col">On average</th>
                  <th scope="col"># Requests</th>
                  <th scope="col">p50</th>
                  <th scope="col">p95</th>
                  <th scope="col">p99</th>
                  <th scope="col">Max</th>
                </tr>
              </thead>
              <tbody>
                {phases.map((phase, place) => (
                  <tr key={phase.phase}>
                    <th scope="row" class="words">
                      <svg width="10" height="10" aria-hidden="true">
                        <rect class={fill(phase)} width="10" height="10" />
                      </svg>{" "}
                      {PHASES[phase.phase]?.name ?? foreign(phase.phase)}
                    </th>
                    <td>{time(parts[place]!)}</td>
                    <td>{count(phase.count)}</td>
                    <td>{time(phase.p50)}</td>
                    <td>{time(phase.p95)}</td>
                    <td>{time(phase.p99)}</td>
                    <td>{time(phase.max)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <p class="note">
            The percentiles are those of the requests that had the phase; only means add up.
          </p>
        </>
      )}
    </section>
  );
}

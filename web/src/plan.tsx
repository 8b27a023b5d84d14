/** The plan: what the run does, in words where it can be said in a few, and whole as JSON. */

import { count, foreign, rate, time } from "./format";
import type { Run } from "./store";

export function Plan({ run }: { run: Run }) {
  const { plan, overrides, warnings, digest, seed, warmupMicros, target } = run.state.run;
  const scenarios = plan.scenarios ?? [];
  const loads = (plan.populations ?? []).map(({ scenarios: places, load }) => {
    const names = (places ?? []).map((place) => scenarios[place]?.name ?? "?");
    return `${names.join(", ")}: ${describe(load ?? {})}`;
  });
  return (
    <>
      <dl class="plan">
        <dt>Target</dt>
        <dd>{foreign(target)}</dd>
        <dt>Load</dt>
        {loads.map((load) => (
          <dd key={load}>{foreign(load)}</dd>
        ))}
        {warmupMicros > 0 && (
          <>
            <dt>Warm-up</dt>
            <dd>{time(warmupMicros)}, not in the results</dd>
          </>
        )}
        <dt>Scenarios</dt>
        {scenarios.map((scenario) => (
          <dd key={scenario.name}>
            {foreign(scenario.name ?? "?")}: {(scenario.tasks ?? []).map((task) => foreign(task.name ?? "?")).join(", ")}
          </dd>
        ))}
        <dt>Digest</dt>
        <dd class="long">{digest}</dd>
        <dt>Seed</dt>
        <dd>{String(seed)}</dd>
        {overrides.length > 0 && (
          <>
            <dt>Changed by the command line</dt>
            {overrides.map((override) => (
              <dd key={override}>{foreign(override)}</dd>
            ))}
          </>
        )}
        {warnings.length > 0 && (
          <>
            <dt>Warnings</dt>
            {warnings.map((warning) => (
              <dd key={warning}>{foreign(warning)}</dd>
            ))}
          </>
        )}
      </dl>
      <details>
        <summary>Whole plan as JSON</summary>
        <pre tabIndex={0}>{JSON.stringify(plan, null, 2)}</pre>
      </details>
    </>
  );
}

interface Profile {
  startAt?: number;
  stages?: { duration?: number; target?: number }[];
}

function amount(level: number): string {
  return Number.isInteger(level) ? count(level) : rate(level);
}

/** The load of a population in a sentence. */
function describe(load: Record<string, unknown>): string {
  const [kind, value] = Object.entries(load)[0] ?? ["", {}];
  const fields = (value ?? {}) as {
    profile?: Profile;
    count?: number;
    users?: number;
    perUser?: boolean;
    maxInFlight?: number;
  };
  switch (kind) {
    case "closed":
      return `users, ${profile(fields.profile ?? {})}`;
    case "open":
      return `iterations started per second, ${profile(fields.profile ?? {})}; at most ${count(fields.maxInFlight ?? 0)} in flight`;
    case "iterations":
      return `${count(fields.count ?? 0)} iterations${fields.perUser ? " of each user" : ""} by ${count(fields.users ?? 0)} users`;
    case "capacity":
      return "a search for the highest rate that holds";
    default:
      return kind;
  }
}

function profile({ startAt = 0, stages = [] }: Profile): string {
  let level = startAt;
  const steps = stages.map(({ duration = 0, target = 0 }) => {
    const [from, within] = [level, time(duration)];
    level = target;
    if (from === target) return `${amount(target)} for ${within}`;
    return duration > 0 ? `to ${amount(target)} within ${within}` : `at once ${amount(target)}`;
  });
  const shown = steps.slice(0, 8);
  if (steps.length > shown.length) shown.push("…");
  return [...(startAt > 0 ? [`from ${amount(startAt)}`] : []), ...shown].join(", then ");
}

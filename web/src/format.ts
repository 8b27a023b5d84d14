/** Numbers as people read them. */

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A whole number with its thousands apart. */
export function count(value: number): string {
  return grouped.format(value);
}

/** A number per second or of things at once: whole from 100 on. */
export function rate(value: number): string {
  if (value === 0) return "0";
  if (value >= 100) return count(value);
  return (value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");
}

/** A share as a percentage, with enough digits for a small one. */
export function percent(share: number): string {
  const value = share * 100;
  if (value === 0 || value === 100) return `${value}%`;
  if (value < 0.01) return "<0.01%";
  return value < 10 ? `${value.toFixed(2)}%` : `${value.toFixed(1)}%`;
}

/** Microseconds in the unit that suits them. */
export function time(micros: number): string {
  if (micros <= 0) return "0";
  if (micros < 1) return "<1 µs";
  if (micros < 1e3) return `${Math.round(micros)} µs`;
  if (micros < 1e6) return `${digits(micros / 1e3)} ms`;
  return `${digits(micros / 1e6)} s`;
}

function digits(value: number): string {
  const text = value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
  return text.replace(/\.0+$/, "");
}

/** Bytes in the unit that suits them. */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${digits(value)} ${units[unit]}`;
}

/** Seconds since the start of the run, as a clock shows them. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}

/** Wall time of a moment of the run. */
export function wallTime(at: Date): string {
  return at.toLocaleTimeString(undefined, { hour12: false });
}

/** Characters that are shown of a text that a target or a worker wrote. */
const MAX_TEXT = 400;

/**
 * A text from elsewhere, fit to be shown: control characters and those that turn the direction of
 * writing become visible, and what is too long is cut.
 */
export function foreign(text: string): string {
  const visible = text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (char) =>
      char === "\n" || char === "\t"
        ? " "
        : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
  const letters = Array.from(visible.slice(0, 2 * MAX_TEXT + 1));
  return letters.length > MAX_TEXT ? `${letters.slice(0, MAX_TEXT).join("")}…` : visible;
}

/** Words for the state of a master. */
export const STATES: Record<string, string> = {
  Waiting: "Waiting for workers",
  Ready: "Ready to start",
  Preparing: "Before the load",
  Running: "Running",
  Stopping: "Stopping",
  Recovering: "Recovering",
  Lost: "Workers lost",
  Finished: "Finished",
};

/** Names of the status codes of gRPC, by number. */
export const GRPC_CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

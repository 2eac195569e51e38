/** Durations as Go writes them (`1h2m3.5s`, `100ms`), as everywhere in koala's environment. */
import { KoalaError } from '../errors.ts';

const MILLISECONDS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** The longest time that Node's timers take, in whole days less what is added to them: 24 days. */
const LONGEST = 24 * 24 * 3_600_000;

/** A duration in milliseconds, from one up; `name` is the option that it was given to. */
export function parseDuration(name: string, text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/gy)];
  const understood = parts.reduce((length, [all]) => length + all.length, 0);
  if (parts.length === 0 || understood !== text.length) {
    throw new KoalaError(
      `${name}: ${JSON.stringify(text)} is not a duration; write it like 30s, 500ms or 1m30s`,
    );
  }
  const sum = parts.reduce(
    (before, [, number, unit]) => before + Number(number) * (MILLISECONDS[unit ?? ''] ?? 0),
    0,
  );
  if (sum < 1 || sum > LONGEST) {
    throw new KoalaError(
      `${name}: ${JSON.stringify(text)} is out of range; it can be 1ms to ${LONGEST / 3_600_000}h`,
    );
  }
  return sum;
}

/** Milliseconds in words: `850 ms`, `12.3 s`. */
export function formatMilliseconds(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Bodies, compared by what they are: JSON by path, text by line, the rest by bytes. */
import { asText, clip, sameBytes, show } from '../protocols/bytes.ts';
import { valueDifference, type Difference, type DifferenceKind } from './difference.ts';
import type { Noise } from './noise.ts';

/** More than this in one body tells nobody anything. */
const MAX_DIFFERENCES = 50;
const VALUE_LIMIT = 120;

/** The differences of two bodies; `contentType` decides how, where it is known. */
export function compareBodies(
  kind: DifferenceKind,
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
  contentType: string | undefined,
  noise: Noise,
): Difference[] {
  if (sameBytes(recorded, replayed) || noise(path)) return [];
  const left = asText(recorded);
  const right = asText(replayed);
  if (left === undefined || right === undefined) return [compareBytes(kind, path, recorded, replayed)];
  if (mayBeJson(contentType, left)) {
    const differences = compareJson(kind, path, left, right, noise);
    if (differences !== undefined) return differences;
  }
  return compareLines(kind, path, left, right, noise);
}

function mayBeJson(contentType: string | undefined, text: string): boolean {
  return /[/+]json\b/i.test(contentType ?? '') || /^\s*[[{]/.test(text);
}

function compareJson(
  kind: DifferenceKind,
  path: string,
  left: string,
  right: string,
  noise: Noise,
): Difference[] | undefined {
  let recorded: unknown;
  let replayed: unknown;
  try {
    recorded = JSON.parse(left);
    replayed = JSON.parse(right);
  } catch {
    return undefined;
  }
  const pairs: Pair[] = [];
  collect(path, recorded, replayed, pairs);
  const differences = pairs
    .filter((pair) => !noise(pair.path, ...valueTexts(pair)))
    .map((pair) => valueDifference(kind, pair.path, showValue(pair.recorded), showValue(pair.replayed)));
  // JSON.parse rounds numbers beyond 2^53: equal values in unequal text may still be different numbers.
  if (pairs.length === 0 && numbersOf(left) !== numbersOf(right))
    return compareLines(kind, path, left, right, noise);
  return cap(differences, path, kind);
}

interface Pair {
  path: string;
  recorded: unknown;
  replayed: unknown;
}

function collect(path: string, recorded: unknown, replayed: unknown, into: Pair[]): void {
  if (Object.is(recorded, replayed)) return;
  if (Array.isArray(recorded) && Array.isArray(replayed)) {
    const length = Math.max(recorded.length, replayed.length);
    for (let index = 0; index < length; index += 1) {
      const left: unknown = index < recorded.length ? recorded[index] : undefined;
      const right: unknown = index < replayed.length ? replayed[index] : undefined;
      collect(`${path}[${index}]`, left, right, into);
    }
    return;
  }
  if (isObject(recorded) && isObject(replayed)) {
    const names = new Set([...Object.keys(recorded), ...Object.keys(replayed)]);
    for (const name of names) {
      const left = Object.hasOwn(recorded, name) ? recorded[name] : undefined;
      const right = Object.hasOwn(replayed, name) ? replayed[name] : undefined;
      collect(
        /^[\w-]+$/.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`,
        left,
        right,
        into,
      );
    }
    return;
  }
  into.push({ path, recorded, replayed });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Two strings, or two numbers, as text. A string that was a number says the same to nobody who reads it. */
function valueTexts({ recorded, replayed }: Pair): [string | null, string | null] {
  const isText = typeof recorded === 'string' || typeof recorded === 'number';
  return isText && typeof recorded === typeof replayed ? [String(recorded), String(replayed)] : [null, null];
}

function showValue(value: unknown): string | null {
  return value === undefined ? null : clip(JSON.stringify(value), VALUE_LIMIT);
}

function numbersOf(json: string): string {
  const outside = json.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  return (outside.match(/-?\d[\d.eE+-]*/g) ?? []).map(canonicalNumber).sort().join(' ');
}

/** `1.50` and `1.5` are one number; what a double cannot hold stays as it is written. */
function canonicalNumber(text: string): string {
  const plain = /^-?\d+$/.test(text) && text.replace('-', '').length > 15;
  return plain ? text : String(Number(text));
}

function compareLines(
  kind: DifferenceKind,
  path: string,
  left: string,
  right: string,
  noise: Noise,
): Difference[] {
  const recorded = left.split('\n');
  const replayed = right.split('\n');
  let start = 0;
  while (start < recorded.length && start < replayed.length && recorded[start] === replayed[start])
    start += 1;
  let recordedEnd = recorded.length;
  let replayedEnd = replayed.length;
  while (
    recordedEnd > start &&
    replayedEnd > start &&
    recorded[recordedEnd - 1] === replayed[replayedEnd - 1]
  ) {
    recordedEnd -= 1;
    replayedEnd -= 1;
  }
  const one = recorded.length === 1 && replayed.length === 1;
  const differences: Difference[] = [];
  for (let line = start; line < Math.max(recordedEnd, replayedEnd); line += 1) {
    const before = line < recordedEnd ? (recorded[line] ?? null) : null;
    const after = line < replayedEnd ? (replayed[line] ?? null) : null;
    const at = one ? path : `${path}:${line + 1}`;
    if (before === after || noise(at, before, after)) continue;
    const [shownBefore, shownAfter] = showAround(before, after);
    differences.push(valueDifference(kind, at, shownBefore, shownAfter));
  }
  return cap(differences, path, kind);
}

/** Two lines as they are or, where they are long, from shortly before the place where they begin to differ. */
function showAround(before: string | null, after: string | null): [string | null, string | null] {
  const left = before ?? '';
  const right = after ?? '';
  let same = 0;
  while (same < left.length && same < right.length && left[same] === right[same]) same += 1;
  const from = Math.max(left.length, right.length) <= VALUE_LIMIT ? 0 : Math.max(0, same - 20);
  const view = (text: string | null): string | null =>
    text === null ? null : JSON.stringify(clip(`${from > 0 ? '…' : ''}${text.slice(from)}`, VALUE_LIMIT));
  return [view(before), view(after)];
}

function compareBytes(
  kind: DifferenceKind,
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
): Difference {
  let same = 0;
  while (same < recorded.length && same < replayed.length && recorded[same] === replayed[same]) same += 1;
  const from = Math.max(0, same - 8);
  const view = (bytes: Uint8Array): string => `${bytes.length} bytes (…${show(bytes.subarray(from), 40)})`;
  return valueDifference(kind, `${path}@${same}`, view(recorded), view(replayed));
}

function cap(differences: Difference[], path: string, kind: DifferenceKind): Difference[] {
  if (differences.length <= MAX_DIFFERENCES) return differences;
  const more = differences.length - MAX_DIFFERENCES;
  const rest = valueDifference(kind, path, null, null);
  rest.Text = `${path}: ${more} more differences`;
  return [...differences.slice(0, MAX_DIFFERENCES), rest];
}

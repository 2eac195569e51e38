/** Quantities on the command line: sizes and shares. */
import { UsageError } from 'clipanion';

const UNITS = new Map([
  ['', 1],
  ['K', 2 ** 10],
  ['M', 2 ** 20],
  ['G', 2 ** 30],
  ['T', 2 ** 40],
]);
/** A recording that may have less could not hold a few sessions. */
const SMALLEST = 2 ** 20;

/** A size in bytes: `500M`, `1.5GB`, `2GiB`. Units are powers of 1024. */
export function parseSize(option: string, text: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?) *([KMGT]?)(?:i?B)?$/i.exec(text.trim()) ?? [];
  const factor = UNITS.get((unit ?? '').toUpperCase());
  const size = amount === undefined || factor === undefined ? NaN : Math.round(Number(amount) * factor);
  if (!Number.isSafeInteger(size) || size < SMALLEST)
    throw new UsageError(
      `${option}: ${JSON.stringify(text)} is not accepted; accepted: a size from 1M, as 500M or 2G`,
    );
  return size;
}

/** A share: `0.01` or `1/100`. */
export function parseShare(option: string, text: string): number {
  const [, part, whole] = /^(\d*\.?\d+)(?:\/(\d+))?$/.exec(text.trim()) ?? [];
  const share = part === undefined ? NaN : Number(part) / Number(whole ?? 1);
  if (!(share >= 0 && share <= 1))
    throw new UsageError(
      `${option}: ${JSON.stringify(text)} is not accepted; accepted: from 0 to 1, as 0.01 or 1/100`,
    );
  return share;
}

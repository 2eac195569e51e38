/** Colours for a terminal that wants them. */
import type { Writable } from 'node:stream';

/** Words in colours, or plain. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

/** The style for `stream`: colours on a terminal, unless NO_COLOR is set. */
export function styleFor(stream: Writable, env: NodeJS.ProcessEnv = process.env): Style {
  const plain = !isTerminal(stream) || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  const paint =
    (open: number, close: number) =>
    (text: string): string =>
      plain ? text : `\u001B[${open}m${text}\u001B[${close}m`;
  return {
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
  };
}

/** Whether a stream ends at a terminal. */
export function isTerminal(stream: Writable): boolean {
  return 'isTTY' in stream && stream.isTTY === true;
}

/** `1 session`, `2 sessions`. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

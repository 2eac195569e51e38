/** Why a call was matched, or was not, in lines: the same in a report and for `koala match`. */
import type { FieldScore } from '../recording/model.ts';

const NAME_WIDTH = 12;

/** How well each kind of field agrees with the matched or the nearest call, a line each. */
export function scoreLines(fields: readonly FieldScore[]): string[] {
  return fields.map(
    ({ Name, Weight, Score }) =>
      `${Name.padEnd(NAME_WIDTH)}  weight ${Weight.toFixed(2)}  agrees ${Score.toFixed(2)}`,
  );
}

/** The second best recorded call, `call` in words, in a line. */
export function runnerUpLine(call: string, mark: number): string {
  return `runner-up: ${call}, mark ${mark.toFixed(3)}`;
}

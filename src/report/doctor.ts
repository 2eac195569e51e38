/** A diagnosis for people. */
import type { Writable } from 'node:stream';
import type { Diagnosis, Finding } from '../run/doctor.ts';
import { styleFor } from './style.ts';

const NAME_WIDTH = 9;

/** Prints what was found, and what to do about it. */
export function printDiagnosis(diagnosis: Diagnosis, stream: Writable): void {
  const style = styleFor(stream);
  const marks: Record<Finding['State'], string> = {
    ok: style.green('ok     '),
    warning: style.yellow('warning'),
    problem: style.red('problem'),
  };
  for (const { Name, State, Detail, Remedy } of diagnosis.Findings) {
    stream.write(`${marks[State]}  ${Name.padEnd(NAME_WIDTH)}  ${Detail}\n`);
    if (Remedy !== '')
      stream.write(`${' '.repeat(NAME_WIDTH + NAME_WIDTH + 2)}${style.dim(`-> ${Remedy}`)}\n`);
  }
}

/** What the `sessions` commands share: warnings about torn files. */
import type { Writable } from 'node:stream';
import { describeTorn, type Recording } from '../../recording/recording.ts';

/**
 * Says what was torn. The exit code is 0 for what an interrupted recorder left, and 2 for a file that was cut
 * after its recording had been finished: what could be read was printed, but it is not all.
 */
export function reportTorn(recording: Recording, stderr: Writable): 0 | 2 {
  let code: 0 | 2 = 0;
  for (const torn of recording.torn) {
    stderr.write(`koala: ${torn.afterFinish ? '' : 'warning: '}${describeTorn(torn)}\n`);
    if (torn.afterFinish) code = 2;
  }
  return code;
}

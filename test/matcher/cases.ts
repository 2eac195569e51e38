// Cases in the form of koala1.json, and what a door decides on them.
import { readFile } from 'node:fs/promises';
import type { Call, Decision, Native, Strategy } from '../../src/native/api.ts';

/** A call with its bytes in base64. */
interface EncodedCall {
  peer: string;
  req: string;
}

interface Answer {
  index: number;
  mark: number;
}

/** A recording, and the requests of a run with what koala 1.x answers. */
export interface Koala1Case {
  name: string;
  candidates: EncodedCall[];
  steps: (EncodedCall & { chunk: Answer; sim: Answer })[];
}

/** The cases of this repository. */
export const smallCases = new URL('koala1.json', import.meta.url);

export async function readCases(path: URL): Promise<Koala1Case[]> {
  return JSON.parse(await readFile(path, 'utf8')) as Koala1Case[];
}

export const decoded = ({ peer, req }: EncodedCall): Call => ({
  peer,
  request: new Uint8Array(Buffer.from(req, 'base64')),
});

/** The decision on every step of the cases, in their order. */
export function decideAll(native: Native, strategy: Strategy, cases: readonly Koala1Case[]): Decision[][] {
  return cases.map(({ candidates, steps }) => {
    const matcher = new native.Matcher(candidates.map(decoded), { strategy });
    return steps.map((step) => matcher.find(step.peer, decoded(step).request));
  });
}

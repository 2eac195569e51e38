// `node --import tsx test/programs/corpus/record.ts [NAME..]`: records the programs here, each twice, and writes what
// the matcher is tested with: see the README.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client, parts } from '../../support/client.ts';
import { record, stop } from '../../support/koala.ts';
import { type Raw, readRaw } from '../../support/recording.ts';
import { temporaryFolder } from '../../support/system.ts';
import { type Site, sites } from './sites.ts';

const target = fileURLToPath(new URL('../../../crates/matcher/tests/corpus/', import.meta.url));

/** A call of a recording, and the deed in which the program made it. */
interface Call {
  deed: string;
  /** The how many-th call of that deed. */
  nth: number;
  peer: string;
  connection: number;
  at: number;
  request: Buffer;
  response: Buffer;
}

const bytes = (value: unknown): Buffer => Buffer.from((value ?? []) as Uint8Array);

/** Whether a request belongs to a log-in: those are answered by protocol, with none of the recorded bytes. */
function logsIn(protocol: string, request: Buffer): boolean {
  // A packet of MySQL's that begins a command has number 0; PostgreSQL's start-up has no letter, its password is `p`.
  if (protocol === 'mysql') return request[3] !== 0;
  if (protocol === 'postgres') return request[0] === 0 || request[0] === 0x70;
  return false;
}

/** Records a program while it does these deeds, one after another, with servers of its own. */
async function calls(t: TestContext, site: Site, deeds: string[], later: number): Promise<Call[]> {
  const { program, port, front, protocol, stop: end } = await site.start(t, later);
  const folder = join(await temporaryFolder(t), 'recording');
  const recording = await record(t, { to: folder, program, port });
  const client = await Client.connect((await front?.()) ?? port);
  for (const deed of deeds) {
    const { response } = await client.http('GET', deed);
    assert.equal(parts(response).status, 200, `${deed}: ${response}`);
  }
  client.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  await end();
  const found: Call[] = [];
  const longestFirst = deeds.toSorted((a, b) => b.length - a.length);
  for (const session of await readRaw(folder)) {
    const inbound = session['CallFromInbound'] as Raw | undefined;
    const asked = bytes(inbound?.['Request']).toString('latin1');
    // The path stands in a line of HTTP, or among the parameters of FastCGI.
    const deed = longestFirst.find((one) => asked.includes(one));
    if (deed === undefined) continue;
    let nth = 0;
    for (const action of (session['Actions'] ?? []) as Raw[]) {
      const request = bytes(action['Request']);
      // What is never answered, as the end of a connection, asks for nothing.
      const asks = action['ActionType'] === 'CallOutbound' && bytes(action['Response']).length > 0;
      if (!asks || request.length === 0 || logsIn(protocol, request)) continue;
      found.push({
        deed,
        nth: nth++,
        peer: site.peer,
        connection: Number(action['ConnectionId']),
        at: Number(action['OccurredAt']),
        request,
        response: bytes(action['Response']),
      });
    }
  }
  return found.toSorted((a, b) => a.at - b.at);
}

/**
 * The recorded call that a later one is: the same call of the same deed, or one that any deed may make. Of those each
 * is answered as often as it was recorded, and no more: none of them is a read.
 */
function truths(site: Site, recorded: Call[], later: Call[]): number[] {
  return later.map((call, at) => {
    const same = ({ request }: Call): boolean => request.equals(call.request);
    if (site.anyone?.(call.request)) {
      const before = later.slice(0, at).filter(same).length;
      return before < recorded.filter(same).length ? recorded.findIndex(same) : -1;
    }
    // To prepare a statement is the same call whoever then executes it, and does nothing yet.
    if (site.prepares?.(call.request)) return recorded.findIndex(same);
    if (!site.first.includes(call.deed)) return -1;
    const of = recorded.findIndex(({ deed, nth }) => deed === call.deed && nth === call.nth);
    assert.ok(of >= 0, `${call.deed} made fewer calls when it was recorded first`);
    return of;
  });
}

for (const site of sites) {
  const wanted = process.argv.slice(2);
  const skip = wanted.length > 0 && !wanted.includes(site.name);
  test(site.name, { skip }, async (t) => {
    const recorded = await calls(t, site, site.first, 0);
    const later = await calls(t, site, site.second, 9 * 24 * 3600 + 4711);
    const call = ({ peer, connection, request, response }: Call): object => ({
      peer,
      req: request.toString('base64'),
      response: response.toString('base64'),
      connection,
    });
    const candidates = recorded.map(call);
    const answers = truths(site, recorded, later);
    const steps = later.map((step, at) => ({
      deed: `${step.deed} (${step.nth})`,
      truth: answers[at],
      ...call(step),
    }));
    writeFileSync(
      join(target, `${site.name}.jsonl`),
      `${JSON.stringify({ name: site.name, candidates, steps })}\n`,
    );
    t.diagnostic(`${site.name}: ${candidates.length} calls, ${steps.length} steps`);
  });
}

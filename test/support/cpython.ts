// CPython's own suites: their verdicts, test by test, bare and under koala.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startKoala } from './koala.ts';
import { lacking } from './needs.ts';
import { replayed } from './replayed.ts';
import { type Ended, Running, temporaryFolder } from './system.ts';

/** Suites that run together, and the tests of them that do: all, unless patterns say which. */
export interface Suite {
  names: string[];
  only?: string[];
}

/**
 * What can't have the same verdict in a replay: OpenSSL appends the keys to a file, and a replay appends to none; the
 * tests read that file.
 */
const appending = new Set(['test_keylog_defaults', 'test_keylog_filename']);
/** How long a suite may take, in milliseconds. */
const LONGEST = 600_000;
/** Machines without such sockets let them wait for ever. */
const ignored = ['*VSOCK*', '*Vsock*'];

/** The verdict of each test, by name: `ok`, `skipped ...`, `FAIL`, `ERROR`, `expected failure`. */
function verdicts(output: string): Map<string, string> {
  const found = new Map<string, string>();
  let name = '';
  for (const line of output.split('\n')) {
    name = /^(\w+ \(test\.[\w.]+\))/.exec(line)?.[1] ?? name;
    // What a test prints may come between its name and its verdict.
    const verdict = /(?:^|\.\.\. )(ok|FAIL|ERROR|expected failure|skipped)(?: .*)?$/.exec(line)?.[1];
    if (verdict !== undefined && name !== '') {
      found.set(name, verdict);
      name = '';
    }
  }
  return found;
}

async function recorded(t: TestContext, program: string[]): Promise<Ended> {
  const to = join(await temporaryFolder(t), 'recording');
  return startKoala(t, ['record', '--to', to, '--', ...program]).end(LONGEST);
}

/** The tests whose verdict is another one under koala. */
function different(bare: Ended, covered: Ended): string[] {
  const [expected, seen] = [verdicts(bare.stdout), verdicts(covered.stdout)];
  assert.ok(expected.size > 50, `only ${expected.size} verdicts:\n${bare.stdout.slice(-2000)}`);
  return [...expected]
    .filter(([name, verdict]) => seen.get(name) !== verdict)
    .map(([name, verdict]) => `${name}: ${verdict}, under koala ${seen.get(name) ?? 'missing'}`);
}

/** The command that runs suites of CPython's. */
function regression({ names, only = [] }: Suite): string[] {
  const left = ignored.flatMap((pattern) => ['-i', pattern]);
  const right = only.flatMap((pattern) => ['-m', pattern]);
  return ['/usr/bin/python3', '-m', 'test', '-v', ...left, ...right, ...names];
}

/** Tests that each suite has the same verdicts when it is recorded, and in a replay: its servers and clients are within it. */
export function testSuites(suites: Suite[]): void {
  for (const suite of suites) {
    test(
      `CPython's ${suite.names.join(', ')}, recorded, and replayed: what is within the program is let through`,
      { skip: lacking('python3', 'cpython-tests') },
      async (t) => {
        const command = regression(suite);
        const [path = '', ...args] = command;
        // At the same time: they mostly wait.
        const [bare, covered] = await Promise.all([
          new Running(t, path, args).end(LONGEST),
          recorded(t, command),
        ]);
        assert.deepEqual(different(bare, covered), []);
        assert.equal(covered.code, bare.code);
        const unlike = different(bare, await replayed(t, command, LONGEST));
        assert.deepEqual(
          unlike.filter((name) => !appending.has(name.split(' ')[0] ?? '')),
          [],
        );
      },
    );
  }
}

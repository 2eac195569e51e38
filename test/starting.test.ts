// A program is never held up by koala: not by a fork, and not by a signal, in the instant in which koala itself starts.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { startUpstream } from './support/servers.ts';
import { temporaryFolder } from './support/system.ts';

const skip = lacking('gcc');

for (const way of ['fork', 'signal']) {
  test(`a ${way} while koala starts holds nobody up`, { skip }, async (t) => {
    const to = join(await temporaryFolder(t), 'recording');
    const { port } = await startUpstream(t, () => ({ body: '' }));
    const ended = await koala(t, [
      'record',
      '--to',
      to,
      '--',
      compiled('starting'),
      way,
      '100',
      String(port),
    ]);
    assert.equal(ended.code, 0, ended.stderr);
    assert.equal(ended.stdout, '0 hung\n');
  });
}

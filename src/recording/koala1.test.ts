import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBinary, platformName } from '../native/binaries.ts';
import { temporary } from '../test-support/sessions.ts';
import { exportSessions, importSessions } from './koala1.ts';
import { Recording } from './recording.ts';

const fixtures = fileURLToPath(new URL('../../crates/session/tests/koala1', import.meta.url));

function withoutAddon(): string | false {
  try {
    findBinary(`koala.${platformName()}.node`);
    return false;
  } catch {
    return 'the addon is not built';
  }
}

test('real koala 1.x sessions come back to the byte', { skip: withoutAddon() }, async (t) => {
  const directory = await temporary(t);
  const names = (await readdir(fixtures)).filter((name) => /^\d/.test(name));
  assert.ok(names.length >= 8);
  assert.equal(await importSessions(join(directory, 'rec'), [fixtures]), names.length);
  const recording = await Recording.open(join(directory, 'rec'));
  assert.equal(recording.manifest.Sessions, names.length);
  assert.equal(await exportSessions(recording, join(directory, 'out'), undefined), names.length);
  for (const name of names) {
    assert.deepEqual(
      await readFile(join(directory, 'out', name)),
      await readFile(join(fixtures, name)),
      name,
    );
  }
});

test('importing twice adds a file', { skip: withoutAddon() }, async (t) => {
  const to = join(await temporary(t), 'rec');
  const [name = ''] = [(await readdir(fixtures)).find((one) => /^\d/.test(one))];
  await importSessions(to, [join(fixtures, name)]);
  await importSessions(to, [join(fixtures, name)]);
  const recording = await Recording.open(to);
  assert.equal(recording.files.length, 2);
  assert.equal(recording.manifest.Sessions, 2);
});

test('a bad file is named, and nothing is imported', { skip: withoutAddon() }, async (t) => {
  const directory = await temporary(t);
  const bad = join(directory, 'bad');
  await writeFile(bad, '{"SessionId": 3}');
  await assert.rejects(
    importSessions(join(directory, 'rec'), [fixtures, bad]),
    /bad is not a koala 1\.x session/,
  );
  await assert.rejects(Recording.open(join(directory, 'rec')), /does not exist/);
  await assert.rejects(
    importSessions(join(directory, 'rec'), [join(directory, 'missing')]),
    /does not exist/,
  );
  await writeFile(join(directory, 'file'), 'other things');
  await assert.rejects(importSessions(directory, [fixtures]), /not a recording/);
});

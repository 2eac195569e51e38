// `koala demo`, what `npm start` shows: on a bare machine, and with a real Redis.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { requestSessions } from './support/recording.ts';
import { temporaryFolder } from './support/system.ts';

for (const [args, skip] of [
  [['demo'], lacking()],
  [['demo', '--redis'], lacking('redis-server')],
] as const) {
  test(`koala ${args.join(' ')} records, replays green and catches a regression`, { skip }, async (t) => {
    const folder = await temporaryFolder(t);
    const { code, stdout, stderr } = await koala(t, [...args], { TMPDIR: folder });
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.match(stdout, /PASS/);
    assert.match(stdout, /FAIL/);
    const recording = /koala sessions list (\S+)/.exec(stdout)?.[1];
    assert.ok(recording, `the demo says what to type next:\n${stdout}`);
    assert.ok((await requestSessions(recording)).length >= 24, 'a few dozen sessions');
  });
}

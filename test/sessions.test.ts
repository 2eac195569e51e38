// The sessions of a recording, listed, shown, and taken to koala 1.x JSON and back: what comes back replays as well.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from './support/client.ts';
import { koala, record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

test(
  'sessions are listed, shown, exported, imported and replayed',
  { skip: lacking('gcc', 'redis-server') },
  async (t) => {
    const folder = await temporaryFolder(t);
    const recording = join(folder, 'recording');
    // Every byte there is, so that the escapes of koala 1.x JSON are seen to be exact.
    const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1');
    const redis = await startRedis(t, { bytes: everyByte, key: 'value' });
    const port = await freePort();
    const program = [compiled('threaded'), String(port), String(redis.port)];
    const running = await record(t, { to: recording, program, port });
    const client = await Client.connect(port);
    await client.http('GET', '/bytes');
    await client.http('GET', '/key');
    client.close();
    await stop(running);
    await redis.stop();

    const listed = await koala(t, ['sessions', 'list', recording, '--json']);
    assert.equal(listed.code, 0, listed.stderr);
    const summaries = (
      JSON.parse(listed.stdout) as { SessionId: string; Request: string; Context: string }[]
    ).filter(({ Context }) => Context !== 'boot');
    assert.deepEqual(
      summaries.map(({ Request }) => Request),
      ['GET /bytes', 'GET /key'],
    );

    const id = summaries[1]?.SessionId ?? '';
    const shown = await koala(t, ['sessions', 'show', recording, id]);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /GET \/key/);
    assert.match(shown.stdout, /key=value/);

    const exported = join(folder, 'json');
    const exporting = await koala(t, ['sessions', 'export', recording, '--to', exported]);
    assert.equal(exporting.code, 0, exporting.stderr);
    assert.ok((await readdir(exported)).length >= 2);

    const imported = join(folder, 'imported');
    const importing = await koala(t, ['sessions', 'import', imported, exported]);
    assert.equal(importing.code, 0, importing.stderr);
    assert.deepEqual(await requestSessions(imported), await requestSessions(recording));

    const { code, stdout, stderr } = await replay(t, imported, program);
    assert.equal(code, 0, `${stdout}${stderr}`);
  },
);

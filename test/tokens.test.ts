// What a program draws at random is no difference, though it looks like a digest; a digest of what it answers is one.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from './support/client.ts';
import { record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { startRedis } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

test(
  'tokens that are others in each replay are notes, and a digest that is the same in both is a difference',
  { skip: lacking('python3', 'redis-server') },
  async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const redis = await startRedis(t, {});
    const port = await freePort();
    const program = ['/usr/bin/python3', programFile('tokens.py'), port, redis.port].map(String);
    const recording = await record(t, { to: folder, program, port });
    const client = await Client.connect(port);
    for (let round = 0; round < 3; round += 1) await client.http('GET', '/');
    client.close();
    const { code, stderr } = await stop(recording);
    assert.equal(code, 0, stderr);
    await redis.stop();

    const green = await replay(t, folder, program);
    assert.equal(green.code, 0, green.stdout + green.stderr);
    assert.match(green.stdout, /3 (sessions )?passed/);

    const red = await replay(t, folder, [...program, 'changed']);
    assert.equal(red.code, 1, red.stdout + red.stderr);
    assert.match(red.stdout, /response\.headers\.etag/);
    assert.doesNotMatch(red.stdout, /csrf|jid|trace|cookie|requests:/);
  },
);

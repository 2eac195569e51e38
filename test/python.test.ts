// A Python service: http.server's threading server, the redis client, and an HTTP upstream by urllib.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, type Exchange, parts } from './support/client.ts';
import { record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { bulk, resp, startRedis, startUpstream } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

const skip = lacking('python3', 'python3-redis', 'redis-server');
const items = { 'item:1': 'tea', 'item:2': 'coffee', 'item:3': 'milk' };

async function recorded(
  t: TestContext,
): Promise<{ folder: string; program: string[]; exchanges: Exchange[]; upstream: string }> {
  const folder = join(await temporaryFolder(t), 'recording');
  const redis = await startRedis(t, items);
  const upstream = await startUpstream(t, ({ url }) => ({
    body: JSON.stringify({ price: url === '/price?item=2' ? 250 : 100 }),
    headers: { 'Content-Type': 'application/json' },
  }));
  const port = await freePort();
  const program = ['/usr/bin/python3', programFile('service.py'), port, redis.port, upstream.port].map(
    String,
  );
  const recording = await record(t, { to: folder, program, port });
  const client = await Client.connect(port);
  const exchanges = [
    await client.http('GET', '/item/1'),
    await client.http('POST', '/count', '3'),
    await client.http('GET', '/price/2'),
    await client.http('POST', '/count', '4'),
    await client.http('GET', '/list'),
    await client.http('GET', '/nothing'),
  ];
  client.close();
  // A second connection is served by another thread, from the same pool.
  const other = await Client.connect(port);
  exchanges.push(await other.http('GET', '/item/2'));
  other.close();
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  assert.equal(upstream.requests(), 1);
  await redis.stop();
  await upstream.stop();
  return { folder, program, exchanges, upstream: `127.0.0.1:${upstream.port}` };
}

test(
  'a Python service is recorded to the byte and replays green with nothing behind it',
  { skip },
  async (t) => {
    const { folder, program, exchanges, upstream } = await recorded(t);
    assert.deepEqual(
      exchanges.map(({ response }) => parts(response)),
      [
        { status: 200, body: '{"item": "1", "name": "tea"}' },
        { status: 200, body: '{"count": 3}' },
        { status: 200, body: '{"item": "2", "name": "coffee", "price": 250}' },
        { status: 200, body: '{"count": 7}' },
        { status: 200, body: '{"items": ["tea", "coffee", "milk"]}' },
        { status: 404, body: '{"error": "no such route"}' },
        { status: 200, body: '{"item": "2", "name": "coffee"}' },
      ],
    );
    const sessions = await requestSessions(folder);
    assert.deepEqual(
      sessions.map(({ request, response }) => ({ request, response })),
      exchanges,
    );
    const asked = sessions.map(({ calls }) => calls.map(({ Request, Response }) => [Request, Response]));
    assert.deepEqual(asked[0], [[resp('GET', 'item:1'), bulk('tea')]]);
    assert.deepEqual(asked[1], [[resp('INCRBY', 'count', '3'), ':3\r\n']]);
    assert.deepEqual(asked[3], [[resp('INCRBY', 'count', '4'), ':7\r\n']]);
    // A pipeline is three talks, each with its own answer.
    assert.deepEqual(
      asked[4],
      Object.entries(items).map(([key, value]) => [resp('GET', key), bulk(value)]),
    );
    assert.deepEqual(asked[5], []);
    assert.deepEqual(asked[6], [[resp('GET', 'item:2'), bulk('coffee')]]);

    const [named, priced] = sessions[2]?.calls ?? [];
    assert.deepEqual([named?.Request, named?.Response], [resp('GET', 'item:2'), bulk('coffee')]);
    assert.equal(priced?.Peer, upstream);
    assert.match(priced?.Request ?? '', /^GET \/price\?item=2 HTTP\/1\.1\r\n/);
    assert.match(priced?.Response ?? '', /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n\{"price":250\}$/);

    const { code, stdout, stderr } = await replay(t, folder, program);
    assert.equal(code, 0, `${stdout}${stderr}`);
    assert.match(stdout, /7 (sessions )?passed/);
  },
);

test('a changed answer of the Python service is a red replay that names it', { skip }, async (t) => {
  const { folder, program } = await recorded(t);
  const { code, stdout, stderr } = await replay(t, folder, program, { REGRESSION: 'answer' });
  assert.equal(code, 1, `${stdout}${stderr}`);
  assert.match(stdout, /GET \/item\/1/);
  assert.match(stdout, /changed/);
});

test('a changed call of the Python service is unmatched and named', { skip }, async (t) => {
  const { folder, program } = await recorded(t);
  const { code, stdout, stderr } = await replay(t, folder, program, { REGRESSION: 'call' });
  assert.equal(code, 1, `${stdout}${stderr}`);
  assert.match(stdout, /item:10/);
});

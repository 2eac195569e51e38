import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { RedisClient } from './redis-client.ts';
import { createRedisServer } from './redis-server.ts';

test('the client and the server of the demo understand each other', async (t) => {
  const server = createRedisServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const redis = new RedisClient((server.address() as AddressInfo).port);
  assert.equal(await redis.command('PING'), 'PONG');
  assert.equal(await redis.command('SET', 'k', 'two\r\nlines'), 'OK');
  assert.equal(await redis.command('GET', 'k'), 'two\r\nlines');
  assert.equal(await redis.command('GET', 'none'), null);
  assert.deepEqual(await Promise.all([redis.command('INCR', 'n'), redis.command('INCR', 'n')]), [1, 2]);
  await redis.command('HSET', 'h', 'a', '1', 'b', '');
  assert.deepEqual(await redis.hash('h'), { a: '1', b: '' });
  await redis.command('RPUSH', 'l', 'x', 'y');
  await redis.command('LPUSH', 'l', 'w', 'v');
  assert.deepEqual(await redis.list('l'), ['v', 'w', 'x', 'y']);
  assert.deepEqual(await redis.list('none'), []);
  await assert.rejects(redis.command('EVAL', 'x'), /unknown command 'EVAL'/);
  redis.close();
});

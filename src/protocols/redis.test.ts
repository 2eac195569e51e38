import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, redis } from '../test-support/sessions.ts';
import { isRedisConnectionCommand, parseRedisCommands, showRedisCommand } from './redis.ts';

test('commands are taken apart, pipelined ones too', () => {
  const commands = parseRedisCommands(Buffer.concat([redis('SET', 'a', 'two words'), redis('GET', '')]));
  assert.deepEqual(
    commands?.map((args) => showRedisCommand(args)),
    ['SET a "two words"', 'GET ""'],
  );
});

test('what is cut or other is not taken for a command', () => {
  const whole = redis('SET', 'key', 'value');
  for (let length = 1; length < whole.length; length += 1) {
    assert.equal(parseRedisCommands(whole.subarray(0, length)), undefined, `cut at ${length}`);
  }
  for (const other of ['', 'PING\r\n', '*x\r\n', '*1\r\n$99999999999999\r\n', '*99999999999\r\n']) {
    assert.equal(parseRedisCommands(bytes(other)), undefined, other);
  }
});

test('what only concerns the connection', () => {
  assert.ok(isRedisConnectionCommand(parseRedisCommands(redis('client', 'SETINFO', 'LIB-NAME', 'x')) ?? []));
  assert.ok(isRedisConnectionCommand(parseRedisCommands(redis('ECHO', 'phpredis:6b04110cde0b8')) ?? []));
  assert.ok(!isRedisConnectionCommand(parseRedisCommands(redis('GET', 'HELLO')) ?? []));
});

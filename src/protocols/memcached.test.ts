import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memcached } from '../test-support/sessions.ts';
import { parseMemcachedCommands, showMemcachedCommand } from './memcached.ts';

const set = memcached(1, { extras: '\0\0\0\0\0\0\0\x3c', key: 'user:1', value: 'two words' });
const noop = memcached(10);

test('commands of the binary protocol are taken apart, several ones too', () => {
  const commands = parseMemcachedCommands(Buffer.concat([set, memcached(0, { key: 'a' }), noop]));
  assert.deepEqual(
    commands?.map((command) => showMemcachedCommand(command)),
    ['set user:1 two words', 'get a', 'noop'],
  );
  assert.deepEqual([...(commands?.[0]?.extras ?? [])], [0, 0, 0, 0, 0, 0, 0, 60]);
  assert.equal(commands?.[0]?.version, '');
});

test('what is cut or other is not taken for a command', () => {
  for (let length = 0; length < set.length; length += 1) {
    assert.equal(parseMemcachedCommands(set.subarray(0, length)), undefined, `cut at ${length}`);
  }
  const lying = Uint8Array.from(set);
  lying[3] = 200;
  assert.equal(parseMemcachedCommands(lying), undefined);
  assert.equal(parseMemcachedCommands(Buffer.from('get a\r\n')), undefined);
});

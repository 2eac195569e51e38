import assert from 'node:assert/strict';
import { test } from 'node:test';
import { session } from '../test-support/sessions.ts';
import { encodeSession } from './codec.ts';
import { itemEnd, looksLikeSession, MalformedItemError } from './sequence.ts';

const item = encodeSession(session());

test('an item ends where it ends, whatever follows', () => {
  const behind = Uint8Array.from([...item, 0xa1, 0xff]);
  assert.equal(itemEnd(item, 0), item.length);
  assert.equal(itemEnd(behind, 0), item.length);
});

test('every cut of an item is seen as a cut', () => {
  for (let length = 0; length < item.length; length += 1) {
    const cut = item.subarray(0, length);
    assert.equal(itemEnd(cut, 0), undefined, `cut at ${length}`);
    assert.ok(looksLikeSession(cut, 0), `cut at ${length}`);
  }
});

test('indefinite lengths, tags, floats and simple values are walked', () => {
  const indefinite = [0xbf, 0x61, 0x61, 0x9f, 0x01, 0x20, 0xff, 0x61, 0x62, 0x5f, 0x41, 0x00, 0xff, 0xff];
  assert.equal(itemEnd(Uint8Array.from(indefinite), 0), indefinite.length);
  const others = [
    0x85, 0xc1, 0x1a, 0, 0, 0, 1, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0, 0xf5, 0x1b, 255, 255, 255, 255, 255, 255, 255,
    255, 0xf6,
  ];
  assert.equal(itemEnd(Uint8Array.from(others), 0), others.length);
});

test('what can be no CBOR is malformed', () => {
  for (const bad of [[0xff], [0x1c], [0x3e], [0x82, 0x01, 0xff], [0xdf], [0x5b, 0xff, 0, 0, 0, 0, 0, 0, 0]]) {
    assert.throws(() => itemEnd(Uint8Array.from(bad), 0), MalformedItemError, JSON.stringify(bad));
  }
  assert.throws(() => itemEnd(new Uint8Array(1000).fill(0x81), 0), MalformedItemError, 'nested too deep');
});

test('random bytes give an end, a cut or a malformed item, and nothing else', () => {
  let seed = 42;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed >> 16;
  };
  for (let round = 0; round < 5000; round += 1) {
    const noise = Uint8Array.from({ length: random() % 40 }, () => random() % 256);
    try {
      const end = itemEnd(noise, 0);
      assert.ok(end === undefined || (end > 0 && end <= noise.length));
    } catch (error) {
      assert.ok(error instanceof MalformedItemError);
    }
  }
});

test('a session is told from other files', () => {
  assert.ok(looksLikeSession(item, 0));
  for (const foreign of ['{"SessionId":"x"}', 'hello', '\u001f\u008b\u0008', '\u00a1ahello!']) {
    assert.ok(!looksLikeSession(Uint8Array.from(Buffer.from(foreign, 'latin1')), 0), foreign);
  }
});

import assert from 'node:assert/strict';
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { session } from '../test-support/sessions.ts';
import { isOfTheMoment } from './moment.ts';

const said = { session: session(), at: 1_795_428_617_000_000_000n };
const same = (recorded: string, replayed: string): boolean => isOfTheMoment(recorded, replayed, said, said);

const key = randomBytes(32);

/** A cookie as ActiveSupport and Rack write it. */
function rails(content: string, name = 'rack.session'): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const sealed = [Buffer.concat([cipher.update(content), cipher.final()]), nonce, cipher.getAuthTag()];
  const text = sealed.map((part) => part.toString('base64')).join('--');
  return `${name}=${encodeURIComponent(text)}; path=/; HttpOnly`;
}

/** A cookie as Laravel writes it. */
function laravel(content: string): string {
  const nonce = randomBytes(16);
  const cipher = createCipheriv('aes-256-cbc', key, nonce);
  const [iv, value] = [nonce, Buffer.concat([cipher.update(content), cipher.final()])].map((part) =>
    part.toString('base64'),
  );
  const mac = createHmac('sha256', key).update(`${iv}${value}`).digest('hex');
  const text = Buffer.from(JSON.stringify({ iv, value, mac, tag: '' })).toString('base64');
  return `laravel_session=${encodeURIComponent(text)}; path=/; httponly; samesite=lax`;
}

test('what is encrypted anew is of the moment', () => {
  for (let round = 0; round < 50; round += 1) {
    const content = JSON.stringify({ session_id: 'a'.repeat(round), n: 1 });
    assert.ok(same(rails(content), rails(content)));
    assert.ok(same(laravel(content), laravel(content)));
  }
});

test('what is encrypted and longer, kept elsewhere, or not encrypted anew is a difference', () => {
  assert.ok(!same(rails('{"n":1}'), rails('{"n":1,"admin":true}')));
  assert.ok(!same(rails('{"n":1}'), rails('{"n":1}', 'other.session')));
  assert.ok(!same(laravel('{"n":1}'), laravel('{"n":1,"admin":true,"x":1}')));
  assert.ok(!same(laravel('{"n":1}'), rails('{"n":1}')));
  const plain = (content: object): string => `t=${Buffer.from(JSON.stringify(content)).toString('base64')}`;
  const iv = 'x'.repeat(80);
  assert.ok(!same(plain({ iv, value: 1 }), plain({ iv, value: 2 })));
  // The same nonce, and another content.
  const [recorded = '', replayed = ''] = ['C2HdMrYnFla6C+Up', 'D2HdMrYnFla6C+Up'].map(
    (content) => `${content}--31vxpRbaG0Rcb4PP--0XTDWl/Szh+DAi+l149MQQ==`,
  );
  assert.ok(!same(recorded, replayed));
});

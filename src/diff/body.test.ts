import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes } from '../test-support/sessions.ts';
import { compareBodies } from './body.ts';
import { noiseOf } from './noise.ts';

function texts(recorded: string, replayed: string, noise: string[] = []): string[] {
  const type = 'application/json';
  return compareBodies('body', 'body', bytes(recorded), bytes(replayed), type, noiseOf(noise)).map(
    ({ Text }) => Text,
  );
}

test('JSON differs by path', () => {
  assert.deepEqual(texts('{"a":{"b":[1,2]},"c":true}', '{"c":true, "a":{"b":[1,3,4]},"d e":null}'), [
    'body.a.b[1]: recorded 2, replayed 3',
    'body.a.b[2]: recorded nothing, replayed 4',
    'body["d e"]: recorded nothing, replayed null',
  ]);
});

test('JSON that says the same is the same', () => {
  assert.deepEqual(texts('{"a":1.50,"b":"x"}', '{ "b": "x", "a": 1.5 }'), []);
});

test('numbers that a double cannot tell apart are told apart', () => {
  assert.equal(texts('{"id":12345678901234567890}', '{"id":12345678901234567891}').length, 1);
});

test('null is not absence, and names of Object are only names', () => {
  assert.deepEqual(texts('{"a":null}', '{}'), ['body.a: recorded null, replayed nothing']);
  assert.deepEqual(texts('{}', '{"toString":1}'), ['body.toString: recorded nothing, replayed 1']);
});

test('a number that is a string now is no noise of their value', () => {
  const noise: [string, ...(string | null | undefined)[]][] = [];
  const remember = (...seen: [string, ...(string | null | undefined)[]]): boolean => noise.push(seen) < 0;
  compareBodies('body', 'body', bytes('{"a":1,"b":"2","c":3}'), bytes('{"a":"5","b":6,"c":7}'), '', remember);
  assert.deepEqual(noise, [['body'], ['body.a', null, null], ['body.b', null, null], ['body.c', '3', '7']]);
});

test('noise is left out by its path', () => {
  assert.deepEqual(
    texts('{"at":1,"b":[{"at":1,"c":1}]}', '{"at":2,"b":[{"at":2,"c":2}]}', ['body.at', 'body.b[*].at']),
    ['body.b[0].c: recorded 1, replayed 2'],
  );
});

test('text differs by line, and long lines are shown where they differ', () => {
  const compare = (left: string, right: string): string[] =>
    compareBodies('body', 'body', bytes(left), bytes(right), 'text/plain', noiseOf()).map(({ Text }) => Text);
  assert.deepEqual(compare('a\nb\nc', 'a\nx\ny\nc'), [
    'body:2: recorded "b", replayed "x"',
    'body:3: recorded nothing, replayed "y"',
  ]);
  const [long = ''] = compare(`${'a'.repeat(500)}b`, `${'a'.repeat(500)}c`);
  assert.match(long, /recorded "…a+b", replayed "…a+c"/);
});

test('bytes differ at an offset', () => {
  const [difference] = compareBodies(
    'bytes',
    'response',
    bytes('\u0000abc'),
    bytes('\u0000abd'),
    undefined,
    noiseOf(),
  );
  assert.equal(difference?.Path, 'response@3');
});

test('more differences than anyone reads are counted', () => {
  const many = (value: number): string => JSON.stringify(Array.from({ length: 80 }, () => value));
  const found = texts(many(1), many(2));
  assert.equal(found.length, 51);
  assert.match(found.at(-1) ?? '', /30 more differences/);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMilliseconds, parseDuration } from './duration.ts';

test('durations as Go writes them', () => {
  assert.equal(parseDuration('--timeout', '30s'), 30_000);
  assert.equal(parseDuration('--timeout', '1h2m3.5s'), 3_723_500);
  assert.equal(parseDuration('--timeout', '250ms'), 250);
  assert.equal(parseDuration('--timeout', '1m30s'), 90_000);
});

test('what is none is refused by name', () => {
  for (const bad of ['', '3', 's', '1x', '1s ', '-1s', '1s1', '0s', '10us', '600h', '99999999h']) {
    assert.throws(() => parseDuration('--timeout', bad), /^KoalaError: --timeout: /, bad);
  }
});

test('milliseconds in words', () => {
  assert.equal(formatMilliseconds(850), '850 ms');
  assert.equal(formatMilliseconds(12_345), '12.3 s');
});

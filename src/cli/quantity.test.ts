import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseShare, parseSize } from './quantity.ts';

test('sizes', () => {
  assert.equal(parseSize('--max-disk', '500M'), 500 * 2 ** 20);
  assert.equal(parseSize('--max-disk', '1.5GB'), 1.5 * 2 ** 30);
  assert.equal(parseSize('--max-disk', '2GiB'), 2 * 2 ** 30);
  assert.equal(parseSize('--max-disk', '10485760'), 10 * 2 ** 20);
  for (const bad of ['', 'M', '-1M', '10', '1K', '1e9', '1P', '500 M B', '1'.repeat(30)]) {
    assert.throws(() => parseSize('--max-disk', bad), /--max-disk: .*accepted: /, bad);
  }
});

test('shares', () => {
  assert.equal(parseShare('--sample', '0.01'), 0.01);
  assert.equal(parseShare('--sample', '1/100'), 0.01);
  assert.equal(parseShare('--sample', '.5'), 0.5);
  assert.equal(parseShare('--sample', '1'), 1);
  assert.equal(parseShare('--sample', '0'), 0);
  for (const bad of ['', '2', '-1', '1/0', '3/2', '50%', 'half', '0/0'])
    assert.throws(() => parseShare('--sample', bad), /--sample: .*accepted: /, bad);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { covers } from './readiness.ts';

test('a listener covers what reaches it', () => {
  assert.ok(covers('127.0.0.1:80', '127.0.0.1:80'));
  assert.ok(covers('0.0.0.0:80', '127.0.0.1:80'));
  assert.ok(covers('[::]:80', '127.0.0.1:80'));
  assert.ok(covers('127.0.0.1:80', '0.0.0.0:80'));
  assert.ok(covers('unix:/a', 'unix:/a'));
  assert.ok(!covers('127.0.0.1:81', '127.0.0.1:80'));
  assert.ok(!covers('127.0.0.2:80', '127.0.0.1:80'));
  assert.ok(!covers('0.0.0.0:8080', '127.0.0.1:80'));
  assert.ok(!covers('unix:/a', 'unix:/b'));
});

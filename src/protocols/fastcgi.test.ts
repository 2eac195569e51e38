import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeFastCgiRequest, parseFastCgiResponse } from './fastcgi.ts';

const record = (type: number, content: Uint8Array | string, padding = 0): Uint8Array => {
  const body = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return Uint8Array.from([
    1,
    type,
    0,
    1,
    body.length >> 8,
    body.length & 255,
    padding,
    0,
    ...body,
    ...new Uint8Array(padding).fill(0x5a),
  ]);
};
const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

test('a request is named by its method and its target', () => {
  const long = 'x'.repeat(200);
  const target = `/items?${long}`;
  const size = [0x80, 0, 0, target.length];
  const params = Uint8Array.from([
    14,
    3,
    ...new TextEncoder().encode('REQUEST_METHODGET'),
    11,
    ...size,
    ...new TextEncoder().encode(`REQUEST_URI${target}`),
  ]);
  const begin = record(1, Uint8Array.from([0, 1, 0, 0, 0, 0, 0, 0]));
  const request = join(
    begin,
    record(4, params.subarray(0, 20), 4),
    record(4, params.subarray(20)),
    record(4, ''),
  );
  assert.equal(describeFastCgiRequest(request), `GET ${target}`);
  assert.equal(describeFastCgiRequest(request.subarray(0, 40)), undefined);
  assert.equal(describeFastCgiRequest(begin), undefined);
});

test('responses are the same however they are cut and padded', () => {
  const head = 'Status: 404 Not Found\r\nX-A: b\r\n\r\n';
  const whole = parseFastCgiResponse(join(record(6, `${head}gone`, 7), record(3, new Uint8Array(8))));
  const cut = parseFastCgiResponse(
    join(record(6, head.slice(0, 5)), record(6, `${head.slice(5)}go`, 3), record(6, 'ne')),
  );
  assert.equal(whole?.status, 404);
  assert.deepEqual(cut, whole);
  assert.equal(new TextDecoder().decode(whole?.body), 'gone');
  assert.equal(parseFastCgiResponse(record(6, 'no end of a head')), undefined);
  assert.equal(parseFastCgiResponse(Uint8Array.from([1, 6, 0, 1, 0, 9, 0, 0, 65])), undefined);
});

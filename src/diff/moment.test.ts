import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, call, redis, session } from '../test-support/sessions.ts';
import { isOfTheMoment, type Said } from './moment.ts';

const ids = ['8e20ef33-2455-4997-975d-6e0d3d49ac24', 'c25276a1-9282-4620-9fab-8283e49af074'] as const;
const tokens = ['sAMTk4nK81FYlKjwLjCWEVdujRsvWkLy', 'BUuoqvPBoPQfHXxCn5c6cXxh4y0noBQ8'] as const;
const at = (time: string): Said => ({ session: session(), at: BigInt(Date.parse(time)) * 1_000_000n });
const then = at('2026-11-23T06:23:50.5Z');
const now = at('2026-12-01T10:00:00Z');
const same = (recorded: string, replayed: string): boolean => isOfTheMoment(recorded, replayed, then, now);

test('times that are equally far from their now are of the moment', () => {
  for (const [recorded, replayed] of [
    ['2026-11-23 06:23:50.578426', '2026-12-01 10:00:00.2'],
    ["VALUES (1, '2026-11-23T06:23:50Z')", "VALUES (1, '2026-12-01T10:00:03Z')"],
    ['2026-11-23T07:23:50+01:00', '2026-12-01T11:00:00+01:00'],
    // In two weeks; in the zone of the program.
    ['sid=1; Expires=Mon, 07 Dec 2026 06:23:50 GMT', 'sid=1; Expires=Tue, 15 Dec 2026 10:00:00 GMT'],
    ['2026-11-23 09:23:50', '2026-12-01 13:00:00'],
    ['1795415030', '1796119200'],
    ['1795415030500', '1796119200000'],
    ['1795415030.5123', '1796119200.0'],
  ] as const)
    assert.ok(same(recorded, replayed), recorded);
});

test('other times, numbers and texts are differences', () => {
  for (const [recorded, replayed] of [
    ['2026-11-23 06:23:50', '2026-12-01 10:01:00'],
    ['2020-01-01 00:00:00', '2021-01-01 00:00:00'],
    ['2026-11-23 06:23:50', 'never'],
    ['at 2026-11-23 06:23:50', 'by 2026-12-01 10:00:00'],
    ['1795415030', '1796119300'],
    ['45.12', '45.11'],
    ['item 1795415030', 'item 7'],
    ['a', 'a'],
  ] as const)
    assert.ok(!same(recorded, replayed), recorded);
});

test('ids that the program has made up are of the moment', () => {
  assert.ok(same(ids[0], ids[1]));
  assert.ok(same(`sess:${tokens[0]}`, `sess:${tokens[1]}`));
  assert.ok(same(`ref ${ids[0]} at 2026-11-23 06:23:50`, `ref ${ids[1]} at 2026-12-01 10:00:00`));
  const signed = [
    'gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc',
    'C3Dpt8i5TNdcyZWHHNbZrzDLkmd3N9Z1FkW5Su7b8Qp',
  ];
  assert.ok(same(`'user9:1xVN2x:${signed[0]}'`, `'user9:1xVN4k:${signed[1]}'`));
  assert.ok(!same(`'user9:1xVN2x:${signed[0]}'`, `'user8:1xVN4k:${signed[1]}'`));
  const cookie = (token: string, signature: string): string => `sid=s%3A${token}.${signature}; Path=/`;
  assert.ok(
    same(
      cookie(tokens[0], 'WPI6%2FvJ9FwoCunzm%2BkgZHkN%2FOVg2bBGZzCK5PJknHl8'),
      cookie(tokens[1], 'C3Dpt8i5TNdcyZW%2BHNbZrzDLkmd3N9Z1FkW5Su7b8Qp'),
    ),
  );
  assert.ok(
    !same('see http://localhost/users/1234567890/orders', 'see http://localhost/users/1234567891/orders'),
  );
  // The payload is what is said.
  const payloads = [
    'eJxVjMsOwiAQRf_FtSE8C7h07zeQGRikaiAp7cr479qk',
    'eJxVjEEOgjAQRe_StWmGlk6tS_eegcxMB4saSCisjHcX',
  ];
  const inTime = (payload: string): string => `.${payload}:1xVN2x:${signed[0]}`;
  assert.ok(!same(inTime(payloads[0] ?? ''), `.${payloads[1]}:1xVN4k:${signed[1]}`));
  assert.ok(!same(ids[0], tokens[1]));
  assert.ok(!same('internationalization', 'industrialisations-x'));
});

test('ids that somebody has told the program are differences', () => {
  const { CallFromInbound } = session();
  assert.ok(CallFromInbound);
  const asked = session({
    CallFromInbound: { ...CallFromInbound, Request: bytes(`GET /${ids[0]} HTTP/1.1`) },
  });
  assert.ok(!isOfTheMoment(ids[0], ids[1], { ...then, session: asked }, now));
  const read = session({
    Actions: [call(2, redis('GET', 'x'), { Response: bytes(`$36\r\n${ids[1]}\r\n`) })],
  });
  assert.ok(!isOfTheMoment(ids[0], ids[1], then, { ...now, session: read }));
  // What was read later can't be where it is from.
  assert.ok(isOfTheMoment(ids[0], ids[1], then, { ...now, session: read, before: 2 }));
});

test('digests and data are differences, however random they look', () => {
  for (const [recorded, replayed] of [
    ['96ed215605752205e1a14b1b93bfbb8b', '0cc175b9c0f1b6a831c399e269772661'],
    ['gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc', 'C3Dpt8i5TNdcyZWHHNbZrzDLkmd3N9Z1FkW5Su7b8Qp'],
    ['eyJ1c2VyIjoiYW5uIiwiYSI6MX0', 'eyJ1c2VyIjoiYm9iIiwiYSI6Mn0'],
    [
      'cache:users:gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc',
      'cache:items:gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc',
    ],
    [
      'cache:acme01:da39a3ee5e6b4b0d3255bfef95601890afd80709',
      'cache:acme02:0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33',
    ],
    ['886313e1-3b8a-5372-9b90-0c9aee199e5d', 'c74a196f-f19d-5ea9-bffd-a2742432fc9c'],
  ] as const)
    assert.ok(!same(recorded, replayed), recorded);
});

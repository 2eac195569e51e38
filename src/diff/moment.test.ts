import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, call, matched, redis, session } from '../test-support/sessions.ts';
import type { Session } from '../recording/model.ts';
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
    ['2026-11-23T07:23:50.5+01:00', '2026-12-01T12:00:00.7+02:00'],
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

test('a time in another form, or counted in another unit, is a difference', () => {
  for (const [recorded, replayed] of [
    ['1795415030', '1796119200000'],
    ['1795415030', '1796119200.5'],
    ['2026-11-23T06:23:50Z', '2026-12-01T10:00:00+00:00'],
    ['2026-11-23T06:23:50Z', '2026-12-01 10:00:00Z'],
    ['2026-11-23T06:23:50Z', '2026-12-01T10:00:00'],
    ['2026-11-23T07:23:50+01:00', '2026-12-01T11:00:00+0100'],
    ['2026-11-23T07:23:50+01:00', '2026-12-01T10:00:00+00:00 '],
    ['2026-11-23T06:23:50.123Z', '2026-12-01T10:00:00Z'],
    ['2026-11-23 06:23:50.123', '2026-12-01 10:00:00,123'],
    ['Mon, 07 Dec 2026 06:23:50 GMT', 'Tue, 15-Dec-2026 10:00:00 GMT'],
  ] as const)
    assert.ok(!same(recorded, replayed), recorded);
});

test('what is escaped now, or is no longer, is a difference', () => {
  for (const [recorded, replayed] of [
    ['a%20b', 'a b'],
    ['a%2fb', 'a%2Fb'],
    ['caf%C3%A9', 'café'],
    ['at=2026-11-23T06%3A23%3A50Z', 'at=2026-12-01T10:00:00Z'],
    [`to=%2Fhome&id=${ids[0]}`, `to=/home&id=${ids[1]}`],
  ] as const) {
    assert.ok(!same(recorded, replayed), recorded);
    assert.ok(!same(replayed, recorded), replayed);
  }
  assert.ok(same('at=2026-11-23T06%3A23%3A50Z', 'at=2026-12-01T10%3A00%3A00Z'));
  const form = (id: string, signature: string): string => `<a href="/x%20y">${id}:${signature}</a>`;
  const digests = [
    'gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc',
    'C3Dpt8i5TNdcy+WHHNbZrz/Lkmd3N9Z1FkW5Su7b8Qp',
  ];
  assert.ok(same(form(ids[0], digests[0] ?? ''), form(ids[1], digests[1] ?? '')));
  assert.ok(same(`to=%2Fhome&id=${ids[0]}; Path=/`, `to=%2Fhome&id=${ids[1]}; Path=/`));
});

test('other times, numbers and texts are differences', () => {
  for (const [recorded, replayed] of [
    ['2026-11-23 06:23:50', '2026-12-01 10:01:00'],
    ['2020-01-01 00:00:00', '2021-01-01 00:00:00'],
    ['2026-11-23 06:23:50', 'never'],
    ['at 2026-11-23 06:23:50', 'by 2026-12-01 10:00:00'],
    ['1795415030', '1796119300'],
    ['45.12', '45.11'],
    // Ids like others, in a replay that is where the recording was.
    ['1234567890', '1235272060'],
    ['2012345678', '2013049848'],
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
  // As itsdangerous writes it.
  const flask = (time: string, signature: string): string => `session=eyJ1IjoiYW5uIn0.${time}.${signature}`;
  assert.ok(
    same(flask('awQStA', 'XYuJdk4ZLUTNeMp4p1kWCkyNIII'), flask('awQ-JQ', 'xhrgLOPY7QbmzGhovgS1lLw8FoI')),
  );
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
  assert.ok(same('TmBzzqzSaUj-bnSubXY-aWOS6KhcSPUK', 'dYqTw_kLgzR-pXcVbHjQfs_KxZmWnBrG'));
  assert.ok(!same('getUserByIdOrNullIfNotFound2', 'getTreesOfAllWhoAreNotFound2'));
  assert.ok(!same('SQLSRV_PHPTYPE_STRING', 'SQLSRV_PHPTYPE_STREAM'));
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

test('ids that begin with the seconds in hex are of the moment, where that is now', () => {
  const seconds = (said: Said, later = 0): string => (Number(said.at / 1_000_000_000n) + later).toString(16);
  const [before, after] = [seconds(then), seconds(now)];
  for (const [recorded, replayed] of [
    [`ord_${before}dcf53`, `ord_${after}e0213`],
    [`visit_${before}dcf534.19271255`, `visit_${after}e02139.96733523`],
    [`ord_${before}dcf534.19271255`, `ord_${after}e02139.96733523`],
    [`{"_id":"${before}aaaaaaaaaa000001"}`, `{"_id":"${after}bbbbbbbbbb000001"}`],
  ] as const)
    assert.ok(same(recorded, replayed), recorded);
  for (const [recorded, replayed] of [
    // A digest that is cut, another time, the id of something older.
    ['da39a3ee5e6b4b0d3255bfef', '0beec7b5ea3f0fdbc95d0dd4'],
    [`${before}dcf53`, `${seconds(now, 3600)}e0213`],
    [`${seconds(then, -3600)}aaaaaaaaaa000001`, `${seconds(now, -3600)}bbbbbbbbbb000001`],
    [`a ${before}dcf53`, `b ${after}e0213`],
  ] as const)
    assert.ok(!same(recorded, replayed), recorded);
  const id = `${after}e0213`;
  const read = session({ Actions: [call(2, redis('GET', 'x'), { Response: bytes(`$13\r\n${id}\r\n`) })] });
  assert.ok(!isOfTheMoment(`${before}dcf53`, id, then, { ...now, session: read }));
});

test('a token that says when it was signed is of the moment, where all else that it says is the same', () => {
  const seconds = (said: Said): number => Number(said.at / 1_000_000_000n);
  const token = (claims: object, signature: string): string => {
    const [head, body] = [{ alg: 'HS256' }, claims].map((part) =>
      Buffer.from(JSON.stringify(part)).toString('base64url'),
    );
    return `Bearer ${head}.${body}.${signature}`;
  };
  const claims = (said: Said, role: string, ttl = 3600): object => ({
    sub: 'user-7',
    role,
    iat: seconds(said),
    exp: seconds(said) + ttl,
  });
  const [first, second] = [
    'gIHjmANsLQRff9DO8r6fweQufwpPPa6BeC2w36rEUUc',
    'C3Dpt8i5TNdcyZWHHNbZrzDLkmd3N9Z1FkW5Su7b8Qp',
  ];
  const before = token(claims(then, 'user'), first);
  assert.ok(same(before, token(claims(now, 'user'), second)));
  assert.ok(!same(before, token(claims(now, 'root'), second)));
  assert.ok(!same(before, token(claims(now, 'user', 7200), second)));
  // Signed anew, and nothing else: another key, say.
  assert.ok(!same(before, token(claims(then, 'user'), second)));
});

test('long texts of whatever kind are looked at once', () => {
  for (const piece of ['ab/', '+/', 'a-', 'A1b_', '1', ':aB3-', 'f0f0f0f0.', 'eyJpdiI6/', '2026-11-23T']) {
    const text = piece.repeat(300_000 / piece.length);
    assert.ok(!same(text, `${text}x`), piece);
  }
});

test('a minute, and a count of minutes since 1970, is of the moment where it is that of its call', () => {
  const count = (said: Said, unit = 60): number => Math.floor(Number(said.at / 1_000_000_000n) / unit);
  for (const [recorded, replayed] of [
    [`rate:10.0.0.1:${count(then)}`, `rate:10.0.0.1:${count(now)}`],
    [`item:1:${count(then, 10)}`, `item:1:${count(now, 10)}`],
    ['stats:2026-11-23T06:23', 'stats:2026-12-01T10:00'],
    ['stats:202611230623', 'stats:202612011000'],
    ['at 2026-11-23 07:23', 'at 2026-12-01 11:00'],
    // It had just begun when it was said.
    [`rate:${count(then)}`, `rate:${count(now) - 1}`],
  ] as const)
    assert.ok(same(recorded, replayed), recorded);
  for (const [recorded, replayed] of [
    [`rate:${count(then)}`, `rate:${count(now) + 1}`],
    [`rate:${count(then)}`, `rate:${count(then) + 1}`],
    [`rate:${count(then)}`, `rate:${count(now, 10)}`],
    ['stats:2026-11-23T06:23', 'stats:2026-12-01T10:01'],
    ['stats:2026-11-23T06:23', 'stats:202612011000'],
    ['zip 80331', 'zip 80333'],
  ] as const)
    assert.ok(!same(recorded, replayed), recorded);
});

test('UUIDs without hyphens are made up, if they are of now or random', () => {
  const earlier = { ...then, at: 1_795_428_617_100_000_000n };
  const later = { ...now, at: 1_795_428_639_800_000_000n };
  const locks = ['14eceb62e72611f1af2102fc00000001', '25b8fecce72611f1999402fc00000001'] as const;
  const made = (recorded: string, replayed: string, when = later): boolean =>
    isOfTheMoment(recorded, replayed, earlier, when);
  assert.ok(made(...locks));
  assert.ok(made('8e20ef3324554997975d6e0d3d49ac24', 'c25276a1928246209fab8283e49af074'));
  assert.ok(!made(...locks, now));
  assert.ok(!made('8e20ef3324554997975d6e0d3d49ac24', '0cc175b9c0f1b6a831c399e269772661'));
  const asked = session({ Actions: [call(2, redis('GET', 'x'), { Response: bytes(locks[1]) })] });
  assert.ok(!made(...locks, { ...later, session: asked }));
});

test('what the program has said before an answer had it is not from that answer', () => {
  // nginx asks php-fpm, which begins a session, and whose answer names it.
  const own = (id: string, told: bigint): Session =>
    session({
      Actions: [
        call(1, bytes('GET /login HTTP/1.1\r\n\r\n'), {
          OccurredAt: 100n,
          Response: bytes(`HTTP/1.1 200 OK\r\nSet-Cookie: sid=${id}\r\n\r\n`),
          ResponseTime: told,
        }),
        call(2, redis('SETEX', `sess:${id}`, '60', 'x'), { OccurredAt: 200n, ResponseTime: 210n }),
      ],
    });
  const made = (told: bigint): boolean =>
    isOfTheMoment(
      tokens[0],
      tokens[1],
      { ...then, session: own(tokens[0], told) },
      { ...now, session: own(tokens[1], told) },
    );
  assert.ok(made(300n));
  assert.ok(!made(150n));
  // Of the very call that says it first.
  const first = (id: string, said: Said): Said => ({ ...said, session: own(id, 300n), at: 200n, before: 2 });
  assert.ok(isOfTheMoment(tokens[0], tokens[1], first(tokens[0], then), first(tokens[1], now)));
});

test('a name that the matcher has found to be new is of the moment, whatever it looks like', () => {
  // The ids of PHP's sessions have as many digits as a digest.
  const [before, after] = ['09c0cb3dc64993916a459d6d6a75cbf3', '6b579e4521d5c3c5f3d1ff2b3941627b'] as const;
  const cookies = [before, after].map((id) => `PHPSESSID=${id}; path=/`);
  const found = (Reason: string, line: string): Said => ({
    ...now,
    session: session({
      Actions: [call(1, redis('GET', 'x'), { Matched: matched(1, { Reason, Differences: [line] }) })],
    }),
  });
  const made = (said: Said): boolean => isOfTheMoment(cookies[0] ?? '', cookies[1] ?? '', then, said);
  const reason = 'the same call; the token in argument 1 is new in the recording and in this run';
  assert.ok(made(found(reason, `argument 1: PHPSESS:${before} -> PHPSESS:${after}`)));
  assert.ok(!made(found(reason, `argument 1: PHPSESS:${before} -> PHPSESS:${after.replace('6', '7')}`)));
  assert.ok(!made(found(reason, `argument 1: a:${before} -> b:${after}`)));
  assert.ok(!made(found('nearly equal', `argument 1: PHPSESS:${before} -> PHPSESS:${after}`)));
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

// Names that a program makes up: every door follows the same ones, whatever it is told of the sessions. The sessions are
// made here, each with a number that a failure names.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Call, Decision, Inbound, MatcherOptions, Native } from '../../src/native/api.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { hasWasm, loadWasm } from '../../src/native/wasm.ts';

const SESSIONS = 300;
const redisPeer = '10.0.0.1:6379';
const mysqlPeer = '10.0.0.2:3306';
const httpPeer = '10.0.0.3:80';

/** Numbers that look drawn, the same for one seed (SplitMix32). */
function dice(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  const below = (limit: number) => next() % limit;
  const letters = (alphabet: string, length: number) =>
    Array.from({ length }, () => alphabet[below(alphabet.length)]).join('');
  return {
    below,
    chance: (percent: number) => below(100) < percent,
    pick: <T>(items: readonly T[]): T => items[below(items.length)] as T,
    letters,
  };
}

type Dice = ReturnType<typeof dice>;

const hex = '0123456789abcdef';
const base62 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** What programs draw. */
const forms: ((dice: Dice) => string)[] = [
  ({ letters }) => letters(hex, 32),
  ({ letters }) => letters(hex, 40),
  ({ letters }) =>
    `${letters(hex, 8)}-${letters(hex, 4)}-4${letters(hex, 3)}-a${letters(hex, 3)}-${letters(hex, 12)}`,
  ({ letters }) => letters('0123456789abcdefghijklmnopqrstuv', 26),
  ({ letters }) => letters(`${base62}-_`, 32),
  ({ letters }) => letters(base62, 20),
  ({ letters }) => `${1 + Number(letters('012345678', 1))}${letters('0123456789', 12)}`,
];

const text = (written: string) => new Uint8Array(Buffer.from(written, 'latin1'));
const redis = (...words: string[]): Call => ({
  peer: redisPeer,
  request: text(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`),
});
const query = (sql: string): Call => ({
  peer: mysqlPeer,
  request: text(`${String.fromCharCode((sql.length + 1) & 255, (sql.length + 1) >> 8)}\0\0\x03${sql}`),
});
const http = (line: string, body = '', header = ''): Call => ({
  peer: httpPeer,
  request: text(`${line} HTTP/1.1\r\nHost: shop\r\n${header}Content-Length: ${body.length}\r\n\r\n${body}`),
});

/** The calls that begin something under a name, and those that use it. */
const beginnings: ((name: string) => Call[])[] = [
  (name) => [redis('SETEX', `session:${name}`, '1800', '{"user":7}')],
  (name) => [redis('GET', `session:${name}`), redis('SET', `session:${name}`, 'a', 'EX', '60')],
  (name) => [redis('SET', `lock:${name}`, '1', 'NX', 'PX', '5000')],
  (name) => [redis('HSET', 'carts', name, '3'), redis('SADD', 'all', name)],
  (name) => [query(`INSERT INTO carts (id, user_id) VALUES ('${name}', 7)`)],
  (name) => [
    query(`SELECT id FROM carts WHERE id = '${name}'`),
    query(`INSERT INTO carts (id) VALUES ('${name}')`),
  ],
  (name) => [http(`PUT /carts/${name}`, '{"total":12}')],
  (name) => [http('POST /orders', `{"id":"${name}","total":12}`)],
];
const uses: ((name: string) => Call)[] = [
  (name) => redis('GET', `session:${name}`),
  (name) => redis('EXPIRE', `session:${name}`, '3600'),
  (name) => redis('DEL', `lock:${name}`),
  (name) => query(`SELECT total FROM carts WHERE id = '${name}'`),
  (name) => query(`UPDATE carts SET total = 12 WHERE id = '${name}' AND user_id = 7`),
  (name) => http(`GET /carts/${name}/items`),
  (name) => http('GET /me', '', `X-Session-Id: ${name}\r\n`),
];
const answers = ['$-1\r\n', '+OK\r\n', ':1\r\n', ':0\r\n', 'HTTP/1.1 404 Not Found\r\n\r\n', ''];

interface Run {
  calls: Call[];
  asked: Call[];
  options: MatcherOptions;
}

/** A recorded session, and what another run of it asks: under names of its own, and with a mistake here and there. */
function run(seed: number): Run {
  const random = dice(seed);
  const { below, chance, pick } = random;
  const names = Array.from({ length: 1 + below(4) }, () => {
    const form = pick(forms);
    return {
      recorded: form(random),
      live: chance(85) ? form(random) : form(dice(1)),
      begin: pick(beginnings),
    };
  });
  const steps: [Call, Call][] = [];
  const both = (make: (name: string) => Call, { recorded, live }: (typeof names)[number]) => {
    const other = chance(8) ? pick(forms)(random) : live;
    steps.push([make(recorded), make(other)]);
  };
  for (const name of names) {
    const count = name.begin(name.recorded).length;
    for (let call = 0; call < count; call += 1) both((said) => name.begin(said)[call] as Call, name);
    for (let left = below(4); left > 0; left -= 1) both(pick(uses), pick(names));
  }
  const numbered = chance(30);
  const connection = numbered ? 1 + below(2) : undefined;
  const calls = steps.map(([recorded]) => {
    const { recorded: named } = pick(names);
    const response = chance(10) ? text(`+${named}\r\n`) : text(pick(answers));
    const overtaken = chance(10) ? below(4) : undefined;
    return { ...recorded, response: chance(85) ? response : undefined, connection, overtaken };
  });
  const asked = steps.map(([, live]) => ({ ...live, connection }));
  if (asked.length > 1 && chance(20)) asked.splice(below(asked.length), 1);
  if (chance(20)) asked.push(pick(asked));
  if (chance(20)) asked.reverse();
  const told = chance(20) ? pick(names).recorded : 'nobody';
  const given = chance(50) ? pick(names).recorded : 'nobody';
  const inbound: Inbound[] = [
    {
      request: text(`POST /login HTTP/1.1\r\nCookie: sid=${told}\r\n\r\n`),
      response: chance(80) ? text(`HTTP/1.1 200 OK\r\nSet-Cookie: sid=${given}\r\n\r\n`) : undefined,
    },
  ];
  if (chance(15)) inbound.push({ request: new Uint8Array() });
  return { calls, asked, options: chance(60) ? { inbound } : {} };
}

/** On every way that there is through a door. */
async function ways(native: Native, { calls, asked, options }: Run): Promise<Decision[][]> {
  const single = new native.Matcher(calls, options);
  const built = await native.Matcher.build(calls, options);
  return [
    asked.map(({ peer, request, connection, at }) => single.find(peer, request, connection, at)),
    new native.Matcher(calls, options).findMany(asked),
    await built.findManyAsync(asked),
  ];
}

const noWasm = hasWasm() ? false : 'the WASM module is not built';

test('all doors follow the same names', { skip: noWasm }, async () => {
  const [addon, wasm] = [loadAddon(), await loadWasm()];
  const seen = { known: { followed: 0, refused: 0 }, unknown: { followed: 0, refused: 0 } };
  for (let seed = 1; seed <= SESSIONS; seed += 1) {
    const made = run(seed);
    const [expected = [], ...others] = [...(await ways(addon, made)), ...(await ways(wasm, made))];
    assert.equal(expected.length, made.asked.length);
    for (const [way, decisions] of others.entries()) {
      assert.deepEqual(decisions, expected, `session ${seed}, way ${way + 2}`);
    }
    const kind = made.options.inbound === undefined ? seen.unknown : seen.known;
    for (const { index, reason } of expected) {
      if (/is new in the recording|stand for the recorded/.test(reason)) kind.followed += 1;
      if (index === null) kind.refused += 1;
    }
  }
  // Or nothing was compared.
  for (const { followed, refused } of Object.values(seen)) assert.ok(followed > 50 && refused > 50);
});

test('the minute in a key is that of its call', { skip: noWasm }, async () => {
  const key = (time: number) => new Date(time).toISOString().slice(0, 16);
  const [then, now] = [Date.UTC(2026, 10, 23, 9, 14, 40), Date.UTC(2026, 11, 1, 0, 0, 5)];
  const count = (time: number) => [
    redis('INCR', `stats:${key(time)}`),
    redis('INCR', `rate:10.0.0.1:${Math.floor(time / 60_000)}`),
  ];
  for (const native of [loadAddon(), await loadWasm()]) {
    const found = (time: number, at?: number) =>
      new native.Matcher(count(then).map((call) => ({ ...call, at: then })))
        .findMany(count(time).map((call) => ({ ...call, at })))
        .map(({ index }) => index);
    assert.deepEqual(found(now, now), [0, 1]);
    assert.deepEqual(found(now), [null, null]);
    for (const minutes of [-60, -1, 1, 60])
      assert.deepEqual(found(now + minutes * 60_000, now), [null, null]);
    const single = new native.Matcher(count(then).map((call) => ({ ...call, at: then })));
    const [asked] = count(now) as [Call];
    assert.equal(single.find(asked.peer, asked.request, undefined, now).index, 0);
  }
});

test('what a session was called with tells which names are new', { skip: noWasm }, async () => {
  const [old, now] = ['q1n6ts5v2ce0kr8dcl0ihg3b1u', '7m2p9vj4hd0s5rt8lq3eknb6a1'];
  const begin = (name: string) => [
    { ...redis('GET', `session:${name}`), response: text('$-1\r\n') },
    { ...redis('SETEX', `session:${name}`, '60', 'a'), response: text('+OK\r\n') },
  ];
  const inbound = (cookie: string): Inbound => ({
    request: text(`GET / HTTP/1.1\r\nCookie: ${cookie}\r\n\r\n`),
  });
  for (const native of [loadAddon(), await loadWasm()]) {
    const found = (options: MatcherOptions) =>
      new native.Matcher(begin(old), options).findMany(begin(now)).map(({ index }) => index);
    assert.deepEqual(found({ inbound: [inbound('a=1')] }), [0, 1]);
    assert.deepEqual(found({ inbound: [inbound('a=1'), inbound(`sid=${old}`)] }), [null, null]);
    assert.deepEqual(found({ inbound: [inbound(`sid=${now}`)] }), [null, null]);
    assert.deepEqual(found({}), [null, null]);
    assert.deepEqual(found({ inbound: [] }), [null, null]);
    // What an answer says that came later is from there, unless the call was made before.
    const told = { ...redis('GET', 'newest'), response: text(`$26\r\n${old}\r\n`) };
    const asked = [redis('GET', 'newest'), ...begin(now)];
    const withAnswer = (overtaken: number) =>
      new native.Matcher([{ ...told, overtaken }, ...begin(old)], { inbound: [inbound('a=1')] })
        .findMany(asked)
        .map(({ index }) => index);
    assert.deepEqual(withAnswer(0), [0, null, null]);
    assert.deepEqual(withAnswer(1), [0, 1, 2]);
  }
});

// The Node addon and the WASM module are asked what crates/matcher/tests/doors.rs asks native Rust: all answer the same.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Call, Decision, DecodedRequest, Native, Strategy } from '../../src/native/api.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { hasWasm, loadWasm } from '../../src/native/wasm.ts';
import { decideAll, decoded, type Koala1Case, readCases, smallCases } from './cases.ts';

interface WrittenCall {
  peer: string;
  request?: string;
  requestHex?: string;
  response?: string;
}

interface Case {
  name: string;
  strategy: Strategy;
  inbound?: { request: string; response: string }[];
  calls: WrittenCall[];
  steps: (WrittenCall & { expected: Decision; decoded: DecodedRequest })[];
}

const cases = JSON.parse(await readFile(new URL('cases.json', import.meta.url), 'utf8')) as Case[];
const noWasm = hasWasm() ? false : 'the WASM module is not built';
const doors: { name: string; skip: string | false; load: () => Native | Promise<Native> }[] = [
  { name: 'the Node addon', skip: false, load: loadAddon },
  { name: 'the WASM module', skip: noWasm, load: loadWasm },
];

const text = (written: string) => new TextEncoder().encode(written);
const bytes = ({ request, requestHex }: WrittenCall) =>
  request === undefined ? new Uint8Array(Buffer.from(requestHex ?? '', 'hex')) : text(request);
const small = await readCases(smallCases);

for (const { name, skip, load } of doors) {
  test(`${name} decides as written`, { skip }, async () => {
    const native = await load();
    let steps = 0;
    for (const { name: title, strategy, inbound, calls, steps: asked } of cases) {
      const recorded = calls.map((call) => ({
        peer: call.peer,
        request: bytes(call),
        response: text(call.response ?? ''),
      }));
      const sessions = inbound?.map(({ request, response }) => ({
        request: text(request),
        response: text(response),
      }));
      const matcher = new native.Matcher(recorded, { strategy, inbound: sessions });
      for (const [number, step] of asked.entries()) {
        assert.deepEqual(matcher.find(step.peer, bytes(step)), step.expected, `${title}, step ${number}`);
        assert.deepEqual(native.decodeRequest(bytes(step)), step.decoded, `${title}, step ${number}`);
        steps += 1;
      }
    }
    assert.ok(steps > 20);
  });

  test(`${name} says what it cannot take`, { skip }, async () => {
    const native = await load();
    assert.throws(() => new native.Matcher([], { strategy: 'nearest' as Strategy }), {
      message: 'unknown strategy "nearest"; known are auto, chunk, sim, exact',
    });
    for (const threshold of [-0.1, 1.1, Number.NaN]) {
      assert.throws(() => new native.Matcher([], { threshold }), {
        message: 'threshold: not a number from 0 to 1',
      });
    }
    assert.throws(() => native.sessionToKoala1Json(Uint8Array.of(0x07)), {
      message: 'at byte 0: session: expected a map, found a number',
    });
    assert.throws(() => native.sessionFromKoala1Json(Buffer.from('{"Pid": 1, "Context": 1}')), {
      message: 'Context: expected a string, found 1',
    });
    // Not of the type at all: an error, and the next call is served.
    assert.throws(() => new native.Matcher([{ peer: 1 } as never]));
    assert.throws(() => new native.Matcher([], { inbound: [{ request: 'a' }] as never }));
    assert.throws(() => new native.Matcher([]).findMany([{ peer: 'a', request: 'b' } as never]));
    assert.equal(native.decodeRequest(Buffer.from('PING\r\n')).protocol, 'redis');
  });

  test(`${name} answers as koala 1.x does`, { skip }, async () => {
    const native = await load();
    for (const strategy of ['chunk', 'sim'] as const) {
      const answers = decideAll(native, strategy, small).map((decisions) =>
        decisions.map(({ index, mark }) => ({ index: index ?? -1, mark: Math.round(mark * 1e9) / 1e9 })),
      );
      assert.deepEqual(
        answers,
        small.map(({ steps }) => steps.map((step) => step[strategy])),
      );
    }
  });

  test(`${name} takes options and batches`, { skip }, async () => {
    const native = await load();
    const [{ candidates, steps }] = small as [Koala1Case];
    const [calls, asked] = [candidates.map(decoded), steps.map(decoded)];
    for (const options of [undefined, {}, { strategy: 'sim', threshold: 0.95 }] as const) {
      const single = new native.Matcher(calls, options);
      const expected = asked.map(({ peer, request }) => single.find(peer, request));
      assert.deepEqual(new native.Matcher(calls, options).findMany(asked), expected);
      const built = await native.Matcher.build(calls, options);
      // Decided in the order in which they are asked for, on whatever thread.
      const half = asked.length / 2;
      const first = built.findManyAsync(asked.slice(0, half));
      const second = built.findManyAsync(asked.slice(half, -1));
      const [last] = built.findMany(asked.slice(-1));
      assert.deepEqual([...(await first), ...(await second), last], expected);
    }
    await assert.rejects(native.Matcher.build([], { threshold: 2 }), {
      message: 'threshold: not a number from 0 to 1',
    });
    // Two connections to one peer are two where they are told apart.
    const same = { peer: 'a', request: Buffer.from('the same request') };
    const many = { ...same, connection: 1 };
    const ask = (...sent: Call[]) =>
      new native.Matcher([same, same], { strategy: 'chunk' }).findMany(sent).map(({ index }) => index);
    assert.deepEqual(ask(same, same, same), [0, 1, null]);
    assert.deepEqual(ask(many, many, { ...many, connection: 2 }), [0, 1, 0]);
  });

  test(`${name} translates files of koala 1.x to the byte`, { skip }, async () => {
    const native = await load();
    const folder = new URL('../../crates/session/tests/koala1/', import.meta.url);
    const names = (await readdir(folder)).filter((file) => /^\d/.test(file));
    assert.equal(names.length, 8);
    for (const file of names) {
      const json = await readFile(new URL(file, folder));
      const cbor = native.sessionFromKoala1Json(json);
      assert.ok(cbor instanceof Uint8Array);
      assert.equal(native.sessionToKoala1Json(cbor), json.toString(), file);
    }
  });

  test(`${name} knows what connections were told and what answers tell`, { skip }, async () => {
    const native = await load();
    const peer = '10.0.0.1:3306';
    const prepare = Buffer.from('\x1d\0\0\0\x16SELECT a FROM t WHERE id = ?', 'latin1');
    const prepared = Buffer.from('\x0c\0\0\x01\0\x07\0\0\0\x01\0\x01\0\0\0\0', 'latin1');
    const execute = (id: number) =>
      Buffer.from(
        `\x12\0\0\0\x17\x07\0\0\0\0\x01\0\0\0\0\x01\x03\0${String.fromCharCode(id)}\0\0\0`,
        'latin1',
      );
    const calls = [
      { peer, connection: 4, request: prepare, response: prepared },
      { peer, connection: 4, request: execute(42), response: Buffer.from('row') },
    ];
    // Without a connection, the statement is the one that the recorded connection prepared.
    const alone = new native.Matcher(calls).find(peer, execute(43));
    assert.deepEqual([alone.index, alone.nearest, alone.differences], [null, 1, ['where id: 42 -> 43']]);
    // On one of its own, it is the one that was prepared there.
    const matcher = await native.Matcher.build(calls);
    const [first, second, third] = matcher.findMany([
      { peer, connection: 9, request: prepare },
      { peer, connection: 9, request: execute(43) },
      { peer, connection: 9, request: execute(42) },
    ]);
    assert.deepEqual([first?.index, second?.index, third?.index], [0, null, 1]);
    assert.deepEqual(second?.differences, ['where id: 42 -> 43']);

    const get = (shop: string, more = '') =>
      Buffer.from(`GET /prices HTTP/1.1\r\nHost: a\r\nX-Shop: ${shop}\r\n${more}\r\n`);
    const prices = ['berlin', 'paris'].map((shop) => ({
      peer,
      request: get(shop),
      response: Buffer.from(`HTTP/1.1 200 OK\r\n\r\nprices of ${shop}`),
    }));
    const asked = new native.Matcher(prices);
    assert.equal(asked.find(peer, get('rome')).index, null);
    assert.equal(asked.find(peer, get('paris', 'X-New: 1\r\n')).index, 1);
  });
}

test('where there is no addon, the WASM module serves', { skip: noWasm }, async () => {
  const program = `
    const { loadNative } = await import(${JSON.stringify(new URL('../../src/native/native.ts', import.meta.url).href)});
    const native = await loadNative();
    console.log(native.decodeRequest(Buffer.from('PING\\r\\n')).protocol, 'initSync' in native);`;
  const env = { ...process.env, KOALA_NATIVE_DIR: '/nowhere' };
  const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  assert.equal(stdout, 'redis true\n');
});

// The large set of cases beside the repository; a clone of it alone lacks them.
const large = new URL('../../../shared/matching/calls.json', import.meta.url);
const noLarge = existsSync(large) ? false : `there is no ${fileURLToPath(large)}`;

test('the doors decide alike on the large set of cases', { skip: noLarge || noWasm }, async () => {
  const many = await readCases(large);
  const [addon, wasm] = [loadAddon(), await loadWasm()];
  for (const strategy of ['auto', 'chunk', 'sim'] as const) {
    const [here, there] = [decideAll(addon, strategy, many), decideAll(wasm, strategy, many)];
    for (const [number, { name }] of many.entries()) assert.deepEqual(there[number], here[number], name);
  }
});

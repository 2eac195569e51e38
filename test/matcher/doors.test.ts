// The Node addon and the WASM module are asked what crates/matcher/tests/doors.rs asks native Rust: all answer the same.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { Decision, DecodedRequest, Native, Strategy } from '../../src/native/api.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { hasWasm, loadWasm } from '../../src/native/wasm.ts';

interface Call {
  peer: string;
  request?: string;
  requestHex?: string;
}

interface Case {
  name: string;
  strategy: Strategy;
  calls: Call[];
  steps: (Call & { expected: Decision; decoded: DecodedRequest })[];
}

const cases = JSON.parse(await readFile(new URL('cases.json', import.meta.url), 'utf8')) as Case[];
const noWasm = hasWasm() ? false : 'the WASM module is not built';
const doors: { name: string; skip: string | false; load: () => Native | Promise<Native> }[] = [
  { name: 'the Node addon', skip: false, load: loadAddon },
  { name: 'the WASM module', skip: noWasm, load: loadWasm },
];

const bytes = ({ request, requestHex }: Call) =>
  request === undefined
    ? new Uint8Array(Buffer.from(requestHex ?? '', 'hex'))
    : new TextEncoder().encode(request);

for (const { name, skip, load } of doors) {
  test(`${name} decides as written`, { skip }, async () => {
    const native = await load();
    let steps = 0;
    for (const { name: title, strategy, calls, steps: asked } of cases) {
      const recorded = calls.map((call) => ({ peer: call.peer, request: bytes(call) }));
      const matcher = new native.Matcher(strategy, recorded);
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
    assert.throws(() => new native.Matcher('nearest' as Strategy, []), {
      message: 'unknown strategy "nearest": auto or exact',
    });
    assert.throws(() => native.sessionToKoala1Json(Uint8Array.of(0x07)), {
      message: 'at byte 0: session: expected a map, found a number',
    });
    assert.throws(() => native.sessionFromKoala1Json(Buffer.from('{"Pid": 1, "Context": 1}')), {
      message: 'Context: expected a string, found 1',
    });
    // Not of the type at all: an error, and the next call is served.
    assert.throws(() => new native.Matcher('auto', [{ peer: 1 } as never]));
    assert.equal(native.decodeRequest(Buffer.from('PING\r\n')).protocol, 'redis');
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

interface SharedCase {
  name: string;
  candidates: { peer: string; req: string }[];
  steps: { peer: string; req: string; truth: number }[];
}

// A large set of cases, where one is named: a list of { name, candidates, steps }, their bytes in base64.
const file = process.env['KOALA_MATCHING_CASES'];

async function decideAlike(t: TestContext, path: string) {
  const shared = JSON.parse(await readFile(path, 'utf8')) as SharedCase[];
  const [addon, wasm] = [loadAddon(), await loadWasm()];
  const spent = [0, 0];
  let steps = 0;
  for (const { name, candidates, steps: asked } of shared) {
    const calls = candidates.map(({ peer, req }) => ({
      peer,
      request: new Uint8Array(Buffer.from(req, 'base64')),
    }));
    const requests = asked.map(({ peer, req }) => ({
      peer,
      request: new Uint8Array(Buffer.from(req, 'base64')),
    }));
    const [here, there] = [addon, wasm].map((native, door) => {
      const matcher = new native.Matcher('auto', calls);
      const started = performance.now();
      const decisions = requests.map(({ peer, request }) => matcher.find(peer, request));
      spent[door] = (spent[door] ?? 0) + performance.now() - started;
      return decisions;
    });
    assert.deepEqual(there, here, name);
    steps += requests.length;
  }
  const each = spent.map((milliseconds) => `${((milliseconds * 1000) / steps).toFixed(1)} us`);
  t.diagnostic(`${steps} requests: ${each[0]} each by the addon, ${each[1]} by WASM`);
}

if (file) {
  test('the two doors decide alike on a large set of cases', { skip: noWasm }, (t) => decideAlike(t, file));
}

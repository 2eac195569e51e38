// The WASM module as a page has it, with no tool in between: in a module script, and in a Worker. Both decide as the
// addon does, to the last bit of the mark.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname } from 'node:path';
import { test } from 'node:test';
import { loadAddon } from '../../src/native/addon.ts';
import type { Strategy } from '../../src/native/api.ts';
import { hasWasm } from '../../src/native/wasm.ts';
import { commandPath, lacking } from '../support/needs.ts';
import { Running, temporaryFolder } from '../support/system.ts';
import { decideAll, readCases, smallCases } from './cases.ts';

const strategies: Strategy[] = ['auto', 'chunk', 'sim'];
const pkg = new URL('../../crates/wasm/pkg/', import.meta.url);
const types: Record<string, string> = { '.js': 'text/javascript', '.wasm': 'application/wasm' };

const written: Record<string, string> = {
  '/': `<!doctype html><script type="module">
    import { decide } from '/decide.js';
    const tell = (name, value) => fetch('/told/' + name, { method: 'POST', body: JSON.stringify(value) });
    await tell('page', await decide().catch(String));
    const worker = new Worker('/worker.js', { type: 'module' });
    worker.onerror = (event) => tell('worker', event.message);
    worker.onmessage = ({ data }) => tell('worker', data);
  </script>`,
  '/worker.js': `
    import { decide } from '/decide.js';
    postMessage(await decide().catch(String));`,
  '/decide.js': `
    import init, { Matcher } from '/pkg/koala_wasm.js';
    const call = ({ peer, req }) => ({ peer, request: Uint8Array.from(atob(req), (byte) => byte.charCodeAt(0)) });
    export async function decide() {
      await init();
      const cases = await (await fetch('/cases')).json();
      return ${JSON.stringify(strategies)}.map((strategy) =>
        cases.map(({ candidates, steps }) => {
          const matcher = new Matcher(candidates.map(call), { strategy });
          return matcher.findMany(steps.map(call));
        }),
      );
    }`,
};

/** What lies at a path of the site: the page, what it imports, and the package as it was built. */
async function content(path: string): Promise<string | Uint8Array> {
  if (path === '/cases') return readFile(smallCases);
  const text = written[path];
  if (text !== undefined) return text;
  assert.ok(path.startsWith('/pkg/') && !path.includes('..'), path);
  return readFile(new URL(path.slice('/pkg/'.length), pkg));
}

const skip = lacking('chromium') || (hasWasm() ? false : 'the WASM module is not built');

test('a page and its Worker decide as the addon does', { skip }, async (t) => {
  const told = new Map<string, unknown>();
  const heard = new EventEmitter();
  const both = once(heard, 'both');
  const site = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://site').pathname;
    const answer = async (): Promise<void> => {
      if (request.method === 'POST') {
        const body = Buffer.concat((await request.toArray()) as Buffer[]).toString();
        told.set(path, JSON.parse(body));
        response.end();
        if (told.size === 2) heard.emit('both');
      } else {
        const found = await content(path);
        response.setHeader('Content-Type', types[extname(path)] ?? 'text/html');
        response.end(found);
      }
    };
    answer().catch(() => response.writeHead(404).end());
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  t.after(() => {
    site.close();
    site.closeAllConnections();
  });
  const { port } = site.address() as AddressInfo;
  const browser = new Running(t, commandPath('chromium-headless-shell'), [
    // Root cannot have its sandbox, and it is shown nothing but this page.
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--user-data-dir=${await temporaryFolder(t)}`,
    // Without it, it is done when the page has loaded.
    '--remote-debugging-port=0',
    `http://127.0.0.1:${port}/`,
  ]);
  const early = browser.ended.then(({ stderr }) => assert.fail(`the browser ended: ${stderr}`));
  await Promise.race([both, early]);
  early.catch(() => undefined);
  const cases = await readCases(smallCases);
  const expected = strategies.map((strategy) => decideAll(loadAddon(), strategy, cases));
  assert.deepEqual(told.get('/told/page'), expected);
  assert.deepEqual(told.get('/told/worker'), expected);
});

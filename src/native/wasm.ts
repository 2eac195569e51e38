/** The WASM module (`crates/wasm`): what serves a browser, and Node where there is no addon. */
import { existsSync, readFileSync } from 'node:fs';
import { KoalaError } from '../errors.ts';
import type { Native } from './api.ts';

/** What of the module's own JavaScript is used here. */
interface Module extends Native {
  initSync(options: { module: Uint8Array }): unknown;
}

// The same two folders up from src/native and from dist/native.
const folder = new URL('../../crates/wasm/pkg/', import.meta.url);

/** Whether the module was built. */
export function hasWasm(): boolean {
  return existsSync(new URL('koala_wasm_bg.wasm', folder));
}

let loading: Promise<Native> | undefined;

/** Loads the module, once. */
export function loadWasm(): Promise<Native> {
  loading ??= load();
  return loading;
}

async function load(): Promise<Native> {
  if (!hasWasm()) throw new KoalaError('the WASM module is not built: build it with "npm run build"');
  // The shape of a generated module cannot be checked before it is called; its declarations are made from `Native`'s.
  const module = (await import(new URL('koala_wasm.js', folder).href)) as Module;
  module.initSync({ module: readFileSync(new URL('koala_wasm_bg.wasm', folder)) });
  return module;
}

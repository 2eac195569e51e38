/** The Rust core, through the door that this machine has. */
import { loadAddon } from './addon.ts';
import type { Native } from './api.ts';
import { hasWasm, loadWasm } from './wasm.ts';

/** The addon; where there is none that loads (not Linux, another libc), the WASM module, which is the same code. */
export async function loadNative(): Promise<Native> {
  try {
    return loadAddon();
  } catch (error) {
    if (!hasWasm()) throw error;
    return loadWasm();
  }
}

/** The N-API addon (`crates/node`): the same matcher, protocols and codecs as the agent's. */
import { createRequire } from 'node:module';
import { errorMessage, KoalaError } from '../errors.ts';
import type { Native } from './api.ts';
import { findBinary, platformName } from './binaries.ts';

const require = createRequire(import.meta.url);
let loaded: Native | undefined;

/** Loads the addon, once. */
export function loadAddon(): Native {
  if (loaded !== undefined) return loaded;
  const path = findBinary(`koala.${platformName()}.node`);
  try {
    // The shape of a native module cannot be checked before it is called; api.ts is what crates/node promises.
    loaded = require(path) as Native;
  } catch (error) {
    throw new KoalaError(`${path} cannot be loaded: ${errorMessage(error)}`);
  }
  return loaded;
}

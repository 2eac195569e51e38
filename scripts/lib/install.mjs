// The Node packages, brought up to the lock file.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, must } from './run.mjs';
import { root } from './root.mjs';

const modified = (path) => statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs;

/** Runs `npm ci` where node_modules is missing or older than the lock file. */
export async function installPackages() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Failure(`koala needs Node 20.19 or newer; this is ${process.versions.node}`);
  }
  const installed = modified('node_modules/.package-lock.json');
  if (installed !== undefined && installed >= modified('package-lock.json')) return;
  await must('installing the Node packages', 'npm', ['ci', '--no-audit', '--no-fund']);
}

// Builds the Node addon (crates/node) into npm/<platform>/, with @napi-rs/cli. Takes no time when nothing changed.
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { platform } from './lib/platform.mjs';
import { root } from './lib/root.mjs';
import { Failure, main, must, output } from './lib/run.mjs';
import { inputs, isCurrent, setCurrent } from './lib/stamp.mjs';

const sources = [
  'crates/events',
  'crates/matcher',
  'crates/node',
  'crates/protocol',
  'crates/session',
  'Cargo.toml',
  'Cargo.lock',
  'package-lock.json',
  'scripts/build-node.mjs',
];

/** The command line of @napi-rs/cli, which is installed for this repository. */
function napiCommand() {
  const require = createRequire(import.meta.url);
  let path;
  try {
    path = require.resolve('@napi-rs/cli');
  } catch {
    throw new Failure('@napi-rs/cli is not installed: run `npm ci`');
  }
  return join(dirname(path), 'cli.js');
}

await main(async () => {
  const here = platform();
  if (!here) {
    console.log(
      `addon: skipped: koala has none for ${process.platform} ${process.arch}; recordings are read by WASM`,
    );
    return 0;
  }
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const folder = join(root, 'npm', here);
  const addon = join(folder, `koala.${here}.node`);
  const stamp = join(target, 'koala-node.stamp');
  const rust = output('rustc', ['--version'], { stdio: 'pipe' }) ?? '';
  const now = inputs(sources, [addon, rust.trim()]);
  if (existsSync(addon) && isCurrent(stamp, now)) return 0;

  // Into a folder of its own first: a running program may have the old addon mapped, so a rename replaces it.
  const built = join(target, 'koala-node');
  rmSync(built, { recursive: true, force: true });
  mkdirSync(built, { recursive: true });
  const args = ['build', '--release', '--platform', '--no-js'];
  args.push('--manifest-path', 'crates/node/Cargo.toml', '--package-json-path', 'crates/node/package.json');
  args.push('--target-dir', target, '--output-dir', built, '--dts', 'index.d.ts');
  if (process.env.CI) args.push('--', '--locked');
  await must('building the Node addon', process.execPath, [napiCommand(), ...args]);
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(built, `koala.${here}.node`), `${addon}.new`);
  renameSync(`${addon}.new`, addon);
  setCurrent(stamp, now);
  console.log(`addon: npm/${here}/koala.${here}.node, ${Math.round(statSync(addon).size / 1024)} KB`);
  return 0;
});

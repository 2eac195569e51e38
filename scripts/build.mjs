// `npm run build`: everything that is compiled. What did not change is not built again: cargo sees to its own, the
// rest is compared by time.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installPackages } from './lib/install.mjs';
import { platform } from './lib/platform.mjs';
import { root } from './lib/root.mjs';
import { Failure, findCommand, main, must, output } from './lib/run.mjs';

const at = (...parts) => join(root, ...parts);
const oldestRust = [1, 88];

/** Where cargo puts what it builds. */
export const targetFolder = () => process.env.CARGO_TARGET_DIR ?? at('target');

/** Arguments that every cargo command gets: in CI, the lock file must be current. */
export const locked = () => (process.env.CI ? ['--locked'] : []);

function checkRust() {
  const version = output('cargo', ['--version'], { stdio: 'pipe' })?.match(/(\d+)\.(\d+)\./);
  const wanted = `Rust ${oldestRust.join('.')} or newer (see https://rustup.rs)`;
  if (!version) throw new Failure(`koala's native parts need ${wanted}; there is no cargo on PATH`);
  const [major, minor] = version.slice(1).map(Number);
  if (major < oldestRust[0] || (major === oldestRust[0] && minor < oldestRust[1])) {
    throw new Failure(`koala's native parts need ${wanted}; cargo is ${major}.${minor}`);
  }
  if (!findCommand('cc'))
    throw new Failure('Rust needs a C compiler to link with (on Debian: apt-get install gcc libc6-dev)');
}

/** Replaces a file by one step, since a running program may have the old one mapped. */
function copyIfNewer(from, to) {
  if (existsSync(to) && statSync(to).mtimeMs >= statSync(from).mtimeMs) return;
  copyFileSync(from, `${to}.new`);
  chmodSync(`${to}.new`, 0o755);
  renameSync(`${to}.new`, to);
}

/** Removes from dist/ what no source stands behind any more: tsc only ever adds. */
function prune(folder = '') {
  if (!existsSync(at('dist', folder))) return;
  for (const entry of readdirSync(at('dist', folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const source = entry.isDirectory() ? path : path.replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts');
    if (source === path && !entry.isDirectory()) continue;
    if (!existsSync(at('src', source))) rmSync(at('dist', path), { recursive: true });
    else if (entry.isDirectory()) prune(path);
  }
}

/** Builds everything that this machine can build. */
export async function build() {
  const started = performance.now();
  const here = platform();
  checkRust();
  if (here) {
    const preload = ['build', '--profile', 'preload', '-p', 'koala-preload', ...locked()];
    await must('building libkoala.so', 'cargo', preload);
    await must('building koala-agent', 'cargo', ['build', '--release', '-p', 'koala-agent', ...locked()]);
    mkdirSync(at('npm', here), { recursive: true });
    copyIfNewer(join(targetFolder(), 'preload/libkoala.so'), at('npm', here, 'libkoala.so'));
    copyIfNewer(join(targetFolder(), 'release/koala-agent'), at('npm', here, 'koala-agent'));
    await must('building the Node addon', process.execPath, [at('scripts/build-node.mjs')]);
  } else {
    console.error(
      `No native parts for ${process.platform} ${process.arch}: recordings can be read, not made.`,
    );
  }
  await must('building the WASM module', process.execPath, [at('scripts/build-wasm.mjs')]);
  prune();
  await must('compiling TypeScript', process.execPath, [
    at('node_modules/typescript/bin/tsc'),
    '-p',
    'tsconfig.build.json',
  ]);
  chmodSync(at('dist/cli/main.js'), 0o755);
  console.error(`Built in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    await installPackages();
    await build();
    return 0;
  });
}

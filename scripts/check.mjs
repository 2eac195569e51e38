// `npm run check`: what must hold besides the tests. `npm run check -- --fix` first repairs what tools can repair;
// names of checks run only those.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, locked, targetFolder } from './build.mjs';
import { readElf } from './lib/elf.mjs';
import { installPackages } from './lib/install.mjs';
import { platform } from './lib/platform.mjs';
import { root } from './lib/root.mjs';
import { Failure, main, output, run } from './lib/run.mjs';
import { line } from './lib/summary.mjs';

const largestLibrary = 200 * 1024;
const largestModule = 150_000;
const json = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));
const tool = (name) => join(root, 'node_modules/.bin', name);
const written = ['src', 'test', 'bench', 'scripts'].filter((folder) => existsSync(join(root, folder)));

/** A check that a command's exit code decides. */
const command =
  (name, ...args) =>
  async () => {
    const { code } = await run(name, args);
    return code === 0 ? [] : [`\`${[name, ...args].join(' ').replaceAll(root, '')}\` exited with ${code}`];
  };

class Skip extends Error {}

/** What libkoala.so promises to every program that it is loaded into. */
function library() {
  if (!platform()) throw new Skip('libkoala.so is for Linux');
  const path = join(targetFolder(), 'preload/libkoala.so');
  const { size } = statSync(path);
  const elf = readElf(readFileSync(path));
  const wrong = [];
  const refuse = (condition, message) => condition && wrong.push(`libkoala.so ${message}`);
  refuse(elf.needed.length > 0, `needs other libraries: ${elf.needed.join(', ')}`);
  refuse(elf.wantsVersions, "asks for symbols of one libc's versions");
  refuse(elf.imports.includes('koala_panic_is_reachable'), 'can panic: its panic handler is reachable');
  refuse(
    elf.imports.includes('__tls_get_addr'),
    'finds thread storage by __tls_get_addr, which may allocate',
  );
  refuse(elf.textRelocations, 'has text relocations');
  refuse(elf.executableStack, 'wants an executable stack');
  refuse(size > largestLibrary, `has ${size} bytes; ${largestLibrary} are allowed`);
  const inner = elf.exports.filter((name) => /^(_ZN|_R|rust_)/.test(name));
  refuse(inner.length > 0, `exports what is its own: ${inner.join(', ')}`);
  console.log(
    `libkoala.so: ${size} bytes, ${elf.exports.length} exports, imports ${elf.imports.join(', ') || 'nothing'}`,
  );
  return wrong;
}

/** What a browser has to load. */
function module() {
  const path = join(root, 'crates/wasm/pkg/koala_wasm_bg.wasm');
  if (!existsSync(path)) throw new Skip('the WASM module is not built');
  const wasm = readFileSync(path);
  const compressed = gzipSync(wasm).length;
  console.log(`koala_wasm_bg.wasm: ${wasm.length} bytes, ${compressed} compressed`);
  if (compressed <= largestModule) return [];
  return [
    `koala_wasm_bg.wasm has ${compressed} bytes compressed; ${largestModule} are allowed (a precompiled standard ` +
      'library makes it a sixth larger; `rustup component add rust-src` brings the source)',
  ];
}

/** Files that tools derive from others, and the versions that must be one. */
async function generated() {
  const wrong = [];
  if (output('cargo', ['metadata', '--locked', '--format-version', '1']) === undefined) {
    wrong.push('Cargo.lock is not current: run `cargo update --workspace`');
  }
  const project = json('package.json');
  const lock = json('package-lock.json').packages[''];
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    if (JSON.stringify(lock[kind] ?? {}) !== JSON.stringify(project[kind] ?? {})) {
      wrong.push(`package-lock.json is not current in its ${kind}: run \`npm install\``);
    }
  }
  // `npm ci` refuses a lock file that leaves out a package for another platform; npm writes one where the registry
  // lacks it.
  const { packages } = json('package-lock.json');
  const known = new Set(
    Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)),
  );
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      if (!known.has(name))
        wrong.push(`package-lock.json lacks ${name}, which ${path} names: see scripts/README.md`);
    }
  }
  const workspace = readFileSync(join(root, 'Cargo.toml'), 'utf8').match(/^version = "(.*)"$/m)?.[1];
  if (workspace !== project.version)
    wrong.push(`Cargo.toml has version ${workspace}, package.json ${project.version}`);
  for (const name of readdirSync(join(root, 'npm'))) {
    if (!existsSync(join(root, 'npm', name, 'package.json'))) continue;
    const { name: full, version, files } = json(join('npm', name, 'package.json'));
    if (full !== `@koala-replay/${name}`) wrong.push(`npm/${name}/package.json has the name ${full}`);
    if (version !== project.version) wrong.push(`npm/${name}/package.json has version ${version}`);
    const expected = ['koala-agent', `koala.${name}.node`, 'libkoala.so'];
    if (JSON.stringify(files) !== JSON.stringify(expected))
      wrong.push(`npm/${name}/package.json lists other files`);
  }
  return wrong;
}

async function licences() {
  if (output('cargo', ['deny', '--version'], { stdio: 'pipe' }) === undefined) {
    throw new Skip('cargo-deny is not installed (`cargo install --locked cargo-deny` brings it)');
  }
  return command('cargo', 'deny', '--offline', 'check', 'bans', 'licenses', 'sources')();
}

/** Clippy for a workspace of its own, which a change could otherwise break unnoticed. */
const apart = (folder) => {
  const manifest = join(root, folder, 'Cargo.toml');
  const options = ['--manifest-path', manifest, '--target-dir', join(targetFolder(), basename(folder))];
  return command('cargo', 'clippy', '--all-targets', ...options, ...locked(), '--', '-D', 'warnings');
};

const checks = {
  'rust format': command('cargo', 'fmt', '--check'),
  clippy: command('cargo', 'clippy', '--workspace', '--all-targets', ...locked(), '--', '-D', 'warnings'),
  'fuzz targets': apart('fuzz'),
  'model of the event log': apart('crates/events/loom'),
  documentation: async () => {
    const { code } = await run('cargo', ['doc', '--workspace', '--no-deps', '--quiet', ...locked()], {
      env: { RUSTDOCFLAGS: '-D warnings' },
    });
    return code === 0 ? [] : [`\`cargo doc\` exited with ${code}`];
  },
  licences,
  types: command(tool('tsc'), '-p', 'tsconfig.json'),
  lint: command(tool('oxlint'), '--deny-warnings', ...written),
  format: command(tool('prettier'), '--check', ...written),
  unused: command(tool('knip')),
  generated,
  library,
  module,
};

const fixes = [
  ['cargo', 'fmt'],
  [tool('prettier'), '--write', '--log-level=warn', ...written],
];

await main(async (args) => {
  const picked = args.filter((arg) => arg !== '--fix');
  for (const name of picked) {
    if (!(name in checks))
      throw new Failure(`no check ${name}; there are: ${Object.keys(checks).join(', ')}`);
  }
  await installPackages();
  if (args.includes('--fix')) for (const [name, ...rest] of fixes) await run(name, rest);
  await build();
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const problems = [];
  for (const [name, check] of Object.entries(checks)) {
    if (picked.length > 0 && !picked.includes(name)) continue;
    console.log(`\n== ${name}`);
    try {
      const wrong = await check();
      counts[wrong.length > 0 ? 'failed' : 'passed'] += 1;
      problems.push(...wrong.map((message) => `${name}: ${message}`));
    } catch (error) {
      if (error instanceof Skip) {
        counts.skipped += 1;
        console.log(`skipped: ${error.message}`);
        continue;
      }
      counts.failed += 1;
      problems.push(`${name}: ${error.message}`);
    }
  }
  for (const problem of problems) console.error(`error: ${problem}`);
  console.log(`\nchecks: ${line(counts)}`);
  return counts.failed === 0 ? 0 : 1;
});

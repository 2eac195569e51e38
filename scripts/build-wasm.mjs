// Builds the WASM module (crates/wasm) with its JavaScript side into crates/wasm/pkg/, in the form of wasm-pack's
// output for the web. Takes no time when nothing changed. Where no compiler for WASM can be had, says so and is done:
// nothing that records or replays on this machine needs the module.
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { root } from './lib/root.mjs';
import { Failure, findCommand, main, must, output } from './lib/run.mjs';
import { inputs, isCurrent, setCurrent } from './lib/stamp.mjs';

const triple = 'wasm32-unknown-unknown';
const packages = ['rustc-web', 'cargo-web', 'rust-web-src', 'lld-22'];
const sources = [
  'crates/events',
  'crates/matcher',
  'crates/protocol',
  'crates/session',
  'crates/wasm',
  'src/native/api.ts',
  'Cargo.toml',
  'Cargo.lock',
  'scripts/build-wasm.mjs',
];
const pkg = join(root, 'crates/wasm/pkg');
// `snippets` has crates/wasm/src/values.js.
const parts = ['koala_wasm.js', 'koala_wasm.d.ts', 'koala_wasm_bg.wasm', 'snippets', 'package.json'];
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const locked = process.env.CI ? ['--locked'] : [];

/** What a command prints, without what it complains of. */
const ask = (command, args, options) => output(command, args, { stdio: 'pipe', ...options })?.trim();

/** Rust as it is set up here, where its standard library for WASM is installed. */
function ordinary() {
  const folder = ask('rustc', ['--print', 'target-libdir', '--target', triple]);
  if (!folder || !existsSync(folder) || readdirSync(folder).length === 0) return undefined;
  return { cargo: 'cargo', args: [], env: {} };
}

/** Where a Rust has what belongs to it, if it has the source of its standard library. */
function sysrootWithSource(rustc) {
  const sysroot = ask(rustc, ['--print', 'sysroot']);
  const has = sysroot && existsSync(join(sysroot, 'lib/rustlib/src/rust/library/Cargo.toml'));
  return has ? sysroot : undefined;
}

/**
 * A Rust that builds its standard library as well, which makes the module a sixth smaller; and panics end the module
 * without a message, which nobody would see, where this cargo can do that.
 */
function buildingStd(cargo, env) {
  const args = ['-Zbuild-std=std,panic_abort', '-Zbuild-std-features=optimize_for_size'];
  // What the standard library asks for is not allowed outside nightly otherwise.
  const bootstrap = { RUSTC_BOOTSTRAP: '1' };
  const silent = ask(cargo, ['-Z', 'help'], { env: { ...process.env, ...bootstrap } });
  const canAbort = silent?.includes('panic-immediate-abort') ?? false;
  if (canAbort) args.push('-Zpanic-immediate-abort');
  const abort = canAbort && { CARGO_PROFILE_WASM_PANIC: 'immediate-abort' };
  // Nobody reads where a panic came from. Inlining as for speed makes up for what the profile, which is for size, costs.
  // SIMD, which every browser has had since 2023, makes it smaller.
  const flags = ['-Ctarget-feature=+simd128', '-Zlocation-detail=none', '-Cllvm-args=-inline-threshold=40'];
  const rustflags = { CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: flags.join(' ') };
  return { cargo, args, env: { ...bootstrap, ...abort, ...rustflags, ...env } };
}

/** Rust as it is set up here, where it has the source of its standard library and a linker of its own. */
function ordinaryWithSource() {
  const sysroot = sysrootWithSource('rustc');
  const host = ask('rustc', ['-vV'])?.match(/^host: (.*)$/m)?.[1];
  if (!sysroot || !host || !existsSync(join(sysroot, 'lib/rustlib', host, 'bin/rust-lld'))) return undefined;
  return buildingStd('cargo', {});
}

/** Debian's Rust, where the source of its standard library is installed. */
function debian() {
  const [rustc, cargo] = ['/usr/bin/rustc', '/usr/bin/cargo'];
  if (!existsSync(rustc) || !existsSync(cargo) || !sysrootWithSource(rustc)) return undefined;
  const folders = (process.env.PATH ?? '').split(':').concat('/usr/bin');
  const linkers = folders
    .flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []))
    .filter((name) => /^(rust-lld|wasm-ld(-\d+)?)$/.test(name))
    .sort((a, b) => Number(b.match(/\d+/)?.[0] ?? 0) - Number(a.match(/\d+/)?.[0] ?? 0));
  if (linkers.length === 0) return undefined;
  return buildingStd(cargo, {
    RUSTC: rustc,
    // Under rustup, these name another compiler to what cargo starts.
    RUSTUP_TOOLCHAIN: undefined,
    RUSTC_WRAPPER: '',
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: linkers[0],
  });
}

/** Lets rustup bring its standard library for WASM, where there is rustup and it reaches its server. */
function fromRustup() {
  if (!findCommand('rustup')) return undefined;
  return ask('rustup', ['target', 'add', triple], { timeout: 120_000 }) === undefined
    ? undefined
    : ordinary();
}

/** Lets Debian bring its Rust, where this process may install packages and is meant to. */
async function fromDebian() {
  const allowed = process.env.CI || process.env.KOALA_INSTALL_SERVERS;
  if (!allowed || process.getuid?.() !== 0 || !findCommand('apt-get')) return undefined;
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await must('reading the lists of packages', 'apt-get', ['-q', 'update'], { env });
    await must(
      'installing Rust for WASM',
      'apt-get',
      ['-qy', 'install', '--no-install-recommends', ...packages],
      {
        env,
      },
    );
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return undefined;
  }
  return debian();
}

/** The version of a package in a Cargo.lock. */
function lockedVersion(lock, name) {
  const entry = readFileSync(join(root, lock), 'utf8').match(`name = "${name}"\nversion = "(.*)"`);
  if (!entry) throw new Failure(`${lock} has no ${name}`);
  return entry[1];
}

/** Builds the tool that makes the JavaScript side, which cargo does once. */
async function bindgen() {
  const [ours, tools] = [
    lockedVersion('Cargo.lock', 'wasm-bindgen'),
    lockedVersion('crates/wasm/bindgen/Cargo.lock', 'wasm-bindgen-cli-support'),
  ];
  if (ours !== tools) {
    throw new Failure(
      `Cargo.lock has wasm-bindgen ${ours}, crates/wasm/bindgen ${tools}: they must be one version`,
    );
  }
  const folder = join(target, 'bindgen');
  const args = [
    'build',
    '--release',
    '--manifest-path',
    'crates/wasm/bindgen/Cargo.toml',
    '--target-dir',
    folder,
  ];
  await must('building koala-bindgen', 'cargo', [...args, ...locked]);
  return join(folder, 'release/koala-bindgen');
}

/** The package.json that wasm-pack writes for the web. */
function manifest() {
  const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const files = parts.filter((name) => name !== 'package.json');
  const [entry, types] = ['koala_wasm.js', 'koala_wasm.d.ts'];
  return {
    name: 'koala-wasm',
    type: 'module',
    version,
    license,
    files,
    main: entry,
    types,
    sideEffects: false,
  };
}

await main(async () => {
  const stamp = join(target, 'koala-wasm.stamp');
  const now = inputs(sources);
  if (parts.every((name) => existsSync(join(pkg, name))) && isCurrent(stamp, now)) return 0;

  const rust = ordinaryWithSource() ?? debian() ?? ordinary() ?? fromRustup() ?? (await fromDebian());
  if (!rust) {
    // What an older source gave must not pass for this one.
    rmSync(pkg, { recursive: true, force: true });
    console.log(
      `wasm: skipped: no Rust for ${triple} here. \`rustup target add ${triple}\` brings it, ` +
        `on Debian \`apt-get install ${packages.join(' ')}\``,
    );
    return 0;
  }
  // A folder of its own: two compilers in one would build everything anew in turns.
  const folder = join(target, 'wasm');
  const args = ['build', '--profile', 'wasm', '-p', 'koala-wasm', '--target', triple, '--target-dir', folder];
  await must('building koala-wasm', rust.cargo, [...args, ...rust.args, ...locked], { env: rust.env });
  const tool = await bindgen();

  // Made beside it and then put in its place, so that no half of a package is ever there.
  const made = `${pkg}.new`;
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made, { recursive: true });
  await must('making the JavaScript side', tool, [join(folder, triple, 'wasm/koala_wasm.wasm'), made]);
  writeFileSync(join(made, 'package.json'), `${JSON.stringify(manifest(), undefined, 2)}\n`);
  rmSync(pkg, { recursive: true, force: true });
  renameSync(made, pkg);
  setCurrent(stamp, now);
  const wasm = readFileSync(join(pkg, 'koala_wasm_bg.wasm'));
  const kilobytes = (bytes) => Math.round(bytes / 1024);
  console.log(
    `wasm: crates/wasm/pkg, ${kilobytes(wasm.length)} KB, ${kilobytes(gzipSync(wasm).length)} KB compressed`,
  );
  return 0;
});

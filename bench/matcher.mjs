// The benchmark of the matcher; README.md says what it measures.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { build, locked, targetFolder } from '../scripts/build.mjs';
import { installPackages } from '../scripts/lib/install.mjs';
import { root } from '../scripts/lib/root.mjs';
import { Failure, main, must } from '../scripts/lib/run.mjs';
import { synthetic } from './lib/recordings.mjs';

const strategies = ['chunk', 'sim', 'auto'];
const sizes = [10, 100, 1_000, 10_000];
// As in crates/matcher/examples/cases.rs.
const rounds = 7;
const longest = 1_000;

const usage = 'usage: npm run bench:matcher -- [--cases FILE] [--seed N] [--mutations] [--no-build]';

/** The output of a native program of `crates/matcher/examples`, or `undefined` where it is shown. */
function example(name, args, stdout) {
  const program = join(targetFolder(), 'release/examples', name);
  const made = spawnSync(program, args, { stdio: ['ignore', stdout, 'inherit'], encoding: 'utf8' });
  if (made.status !== 0) throw new Failure(`${relative(root, program)} exited with ${made.status}`);
  return made.stdout ?? undefined;
}

/** The table of right and wrong answers over a file of cases is shown. */
const showTable = (file) => example('cases', [file], 'inherit');

/** The times of a file of cases. */
const nativeTimes = (file) => JSON.parse(example('cases', [file, '--times'], 'pipe'));

/** Nanoseconds that `find` takes over all steps, the least disturbed round of each case. */
function timed(cases, makeMatcher, find) {
  let sum = 0;
  for (const { calls, steps } of cases) {
    let fastest = Infinity;
    const begun = performance.now();
    for (let round = 0; round < rounds; round += 1) {
      if (round > 0 && performance.now() - begun > longest) break;
      const matcher = makeMatcher(calls);
      const started = performance.now();
      find(matcher, steps);
      fastest = Math.min(fastest, performance.now() - started);
      matcher.free?.();
    }
    sum += fastest;
  }
  return sum * 1e6;
}

const oneByOne = (matcher, steps) => {
  for (const { peer, request } of steps) matcher.find(peer, request);
};
const together = (matcher, steps) => matcher.findMany(steps);

/** The doors in JavaScript that this machine has. */
async function openDoors() {
  const at = (path) => pathToFileURL(join(root, path)).href;
  const { loadAddon } = await import(at('dist/native/addon.js'));
  const { hasWasm, loadWasm } = await import(at('dist/native/wasm.js'));
  const opened = [['N-API', loadAddon()]];
  if (hasWasm()) opened.push(['WASM', await loadWasm()]);
  else console.log('skipped: WASM is not built\n');
  return opened.flatMap(([name, door]) => [
    { name, door, find: oneByOne },
    { name: `${name}, batch`, door, find: together },
  ]);
}

/** Prints the rows of a recording: microseconds a match, and what of the candidates that is. */
function rows(name, written, doors, folder) {
  const file = join(folder, 'cases.json');
  writeFileSync(file, JSON.stringify(written));
  const { calls, matches, weighed, strategies: spent } = nativeTimes(file);
  const bytes = (call) => ({ peer: call.peer, request: new Uint8Array(Buffer.from(call.req, 'base64')) });
  const cases = written.map(({ candidates, steps }) => ({
    calls: candidates.map(bytes),
    steps: steps.map(bytes),
  }));
  const cell = (nanoseconds) => {
    const rate = weighed / nanoseconds;
    return `${(nanoseconds / matches / 1e3).toFixed(2)} (${rate < 10 ? rate.toFixed(2) : rate.toFixed(0)})`;
  };
  for (const strategy of strategies) {
    const cells = doors.map(({ door, find }) =>
      cell(timed(cases, (recorded) => new door.Matcher(recorded, { strategy }), find)),
    );
    const building = (spent[strategy].building / calls / 1e3).toFixed(2);
    console.log(`| ${[name, strategy, cell(spent[strategy].finding), ...cells, building].join(' | ')} |`);
  }
}

await main(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      cases: { type: 'string', default: join(root, '../shared/matching/calls.json') },
      seed: { type: 'string', default: '1' },
      mutations: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const seed = Number(values.seed);
  if (!Number.isInteger(seed)) throw new Failure(`--seed ${values.seed}: not a whole number; ${usage}`);
  if (!values['no-build']) {
    await installPackages();
    await build();
    const examples = ['--example', 'cases', '--example', 'mutations'];
    const command = ['build', '--release', '-p', 'koala-matcher', ...examples, ...locked()];
    await must('building the benchmark', 'cargo', command);
  }
  if (values.mutations) {
    example('mutations', existsSync(values.cases) ? [values.cases] : [], 'inherit');
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), 'koala-bench-'));
  try {
    const doors = await openDoors();
    console.log(
      `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} processors, Node ${process.versions.node}\n`,
    );
    const shared = existsSync(values.cases) ? JSON.parse(readFileSync(values.cases, 'utf8')) : undefined;
    if (shared) showTable(values.cases);
    else console.log(`skipped: there is no ${values.cases}`);
    console.log('\nmicroseconds a match (GB of candidates a second)\n');
    const columns = ['calls', 'strategy', 'native', ...doors.map(({ name }) => name), 'building, us a call'];
    console.log(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`);
    if (shared) rows('shared cases', shared, doors, folder);
    for (const size of sizes) rows(size.toLocaleString('en'), synthetic(size, seed), doors, folder);
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

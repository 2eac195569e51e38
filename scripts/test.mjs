// `npm test`: every test there is. `npm test -- rust model unit e2e` picks suites; paths of test files pick those files.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, locked, targetFolder } from './build.mjs';
import { installPackages } from './lib/install.mjs';
import { root } from './lib/root.mjs';
import { Failure, main, run } from './lib/run.mjs';
import { canInstall, installServers, reportMissing } from './lib/servers.mjs';
import { cargoCounts, line, total } from './lib/summary.mjs';

const reporter = new URL('lib/count-reporter.mjs', import.meta.url).href;

function testFiles(folder) {
  const names = readdirSync(join(root, folder), { recursive: true }).filter((name) =>
    name.endsWith('.test.ts'),
  );
  return names.map((name) => join(folder, name)).sort();
}

async function cargoTests() {
  const { stdout, code } = await run('cargo', ['test', '--workspace', '--no-fail-fast', ...locked()], {
    keepOutput: true,
  });
  return cargoCounts(stdout, code);
}

/** The model of the event log under loom: a workspace of its own. */
async function modelTests() {
  const manifest = ['--manifest-path', join(root, 'crates/events/loom/Cargo.toml')];
  const target = ['--target-dir', join(targetFolder(), 'loom')];
  const args = ['test', '--release', ...manifest, ...target, ...locked()];
  const { stdout, code } = await run('cargo', args, { keepOutput: true });
  return cargoCounts(stdout, code);
}

async function nodeTests(files, concurrency) {
  if (files.length === 0) return total([]);
  const folder = mkdtempSync(join(tmpdir(), 'koala-test-'));
  const counted = join(folder, 'counts.json');
  try {
    const reports = [
      ['spec', 'stdout'],
      [reporter, counted],
    ].flatMap(([name, to]) => [`--test-reporter=${name}`, `--test-reporter-destination=${to}`]);
    const limits = [`--test-concurrency=${concurrency}`, '--test-timeout=180000'];
    const args = ['--import', 'tsx', '--test', ...limits, ...reports, ...files];
    const { code } = await run(process.execPath, args);
    let counts;
    try {
      counts = JSON.parse(readFileSync(counted, 'utf8'));
    } catch {
      return { passed: 0, failed: 1, skipped: 0 };
    }
    if (code !== 0 && counts.failed === 0) counts.failed = 1;
    for (const { name, reason } of counts.skips) console.log(`skipped: ${name}${reason && `: ${reason}`}`);
    return counts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const suites = {
  rust: cargoTests,
  model: modelTests,
  unit: () => nodeTests(testFiles('src'), 2),
  // One file at a time: they compare what programs do, and share two cores with the servers that they start.
  e2e: () => nodeTests(testFiles('test'), 1),
};

await main(async (args) => {
  const files = args.filter((arg) => arg.endsWith('.ts'));
  const picked = args.filter((arg) => !arg.endsWith('.ts'));
  for (const name of picked) {
    if (!(name in suites))
      throw new Failure(`no suite ${name}; there are: ${Object.keys(suites).join(', ')}`);
  }
  if (process.env.CI || process.env.KOALA_INSTALL_SERVERS) {
    if (canInstall()) await installServers();
    else console.log('The servers and tools for tests are not installed: that needs root on Debian.');
  }
  await installPackages();
  await build();
  const counts = [];
  if (files.length > 0) counts.push(await nodeTests(files, 1));
  else {
    for (const [name, suite] of Object.entries(suites)) {
      if (picked.length > 0 && !picked.includes(name)) continue;
      console.log(`\n== ${name} tests`);
      const result = await suite();
      console.log(`${name}: ${line(result)}`);
      counts.push(result);
    }
  }
  const sum = total(counts);
  reportMissing();
  console.log(`\n${line(sum)}`);
  return sum.failed === 0 && sum.passed > 0 ? 0 : 1;
});

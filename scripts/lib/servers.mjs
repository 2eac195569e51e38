// The real servers and tools that some tests need, as Debian packages.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { findCommand, must, output } from './run.mjs';

const needs = JSON.parse(readFileSync(new URL('needs.json', import.meta.url), 'utf8'));
const policy = '/usr/sbin/policy-rc.d';

/** The one command that brings what is missing. */
const remedy = 'npm run install-servers';

function present(need) {
  if (need.rustTarget) {
    const folder = output('rustc', ['--print', 'target-libdir', '--target', need.rustTarget], {
      stdio: 'pipe',
    })?.trim();
    if (folder && existsSync(folder) && readdirSync(folder).length > 0) return true;
  }
  return need.path.includes('/') ? existsSync(need.path) : findCommand(need.path) !== undefined;
}

/** What this machine lacks. */
export const missing = () => needs.filter((need) => !present(need));

/** Whether this process can install Debian packages. */
export const canInstall = () => process.getuid?.() === 0 && findCommand('apt-get') !== undefined;

/**
 * Installs what is missing. No package may start its daemon: a policy file forbids it meanwhile, and what was there
 * before is put back.
 */
export async function installServers() {
  const packages = missing().flatMap((need) => need.packages);
  if (packages.length === 0) return;
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await must('reading the lists of packages', 'apt-get', ['-q', 'update'], { env });
  const available = packages.filter((name) =>
    /Candidate: \d/.test(output('apt-cache', ['policy', name]) ?? ''),
  );
  if (available.length === 0) return;
  const before = existsSync(policy) ? readFileSync(policy) : undefined;
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await must(
      'installing packages',
      'apt-get',
      ['-qy', 'install', '--no-install-recommends', ...available],
      { env },
    );
  } finally {
    if (before === undefined) rmSync(policy, { force: true });
    else writeFileSync(policy, before, { mode: 0o755 });
  }
}

/** A line for each missing need, and the command that brings them; nothing where nothing is missing. */
export function reportMissing() {
  const absent = missing();
  if (absent.length === 0) return;
  console.log('\nNot on this machine, so what needs it was skipped:');
  for (const { name, brings } of absent) console.log(`  ${name} (${brings})`);
  console.log(`On Debian, \`sudo ${remedy}\` brings all of it.`);
}

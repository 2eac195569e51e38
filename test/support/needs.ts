// What the machine must have for a test to run: the reason to skip it otherwise.
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

interface Need {
  name: string;
  path: string;
}

const needs = JSON.parse(
  readFileSync(new URL('../../scripts/lib/needs.json', import.meta.url), 'utf8'),
) as Need[];

/** The path of a command, if the machine has it. */
export function findCommand(name: string): string | undefined {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** The path of a command that `lacking` has said is there. */
export function commandPath(name: string): string {
  const path = findCommand(name);
  if (path === undefined) throw new Error(`${name} is not on this machine`);
  return path;
}

/** `false` where the machine has all of `names`; else the reason to skip, for `test(name, { skip: lacking(..) }, ..)`. */
export function lacking(...names: string[]): string | false {
  const missing = names.filter((name) => {
    const need = needs.find((candidate) => candidate.name === name);
    if (!need) throw new Error(`scripts/lib/needs.json does not know ${name}`);
    return !(need.path.includes('/') ? existsSync(need.path) : findCommand(need.path));
  });
  if (process.platform !== 'linux') return 'recording needs Linux';
  return missing.length === 0 ? false : `needs ${missing.join(', ')} (npm run install-servers)`;
}

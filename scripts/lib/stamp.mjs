// Whether something has to be built again: a file that names what it was built from, by size and time.
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './root.mjs';

function describe(path, into) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) into.push(`${path} missing`);
  else if (!stat.isDirectory()) into.push(`${path} ${stat.size} ${stat.mtimeMs}`);
  else {
    for (const name of readdirSync(join(root, path)).sort()) {
      // What tests read, and what was built, is no input.
      if (!['tests', 'examples', 'pkg', 'target', 'node_modules'].includes(name))
        describe(join(path, name), into);
    }
  }
}

/** What the files and folders at `paths` are now, with `settings` that are no files. */
export function inputs(paths, settings = []) {
  const lines = [...settings];
  for (const path of paths) describe(path, lines);
  return `${lines.join('\n')}\n`;
}

/** Whether the stamp says these inputs. */
export function isCurrent(stamp, now) {
  try {
    return readFileSync(stamp, 'utf8') === now;
  } catch {
    return false;
  }
}

/** Writes the stamp, with the inputs as they were before the build: what changed meanwhile is built next time. */
export function setCurrent(stamp, now) {
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, now);
}

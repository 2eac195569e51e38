/**
 * Finds what was built for this platform: `koala-agent`, `libkoala.so` and the addon. Nothing is downloaded
 * or compiled here, and nothing outside the three places is looked at: `KOALA_NATIVE_DIR`, `npm/<platform>/`
 * in this repository, the package `@koala-replay/<platform>`.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KoalaError } from '../errors.ts';

const require = createRequire(import.meta.url);

/** The platform as npm packages name it: `linux-x64-gnu`. */
export function platformName(): string {
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`;
  return `linux-${process.arch}-${isMusl() ? 'musl' : 'gnu'}`;
}

function isMusl(): boolean {
  const report: unknown = process.report.getReport();
  if (typeof report !== 'object' || report === null || !('header' in report)) return false;
  const { header } = report;
  return typeof header === 'object' && header !== null && !('glibcVersionRuntime' in header);
}

/** The path of a binary, or a `KoalaError` that says where it should be. */
export function findBinary(name: string): string {
  const directories = nativeDirectories();
  for (const directory of directories) {
    const path = join(directory, name);
    if (existsSync(path)) return path;
  }
  throw new KoalaError(`${name} is not in ${directories.join(' or ')}: build it with "npm run build"`);
}

/** `record` and `replay` need Linux; elsewhere they say so. */
export function requireLinux(what: string): void {
  if (process.platform !== 'linux') {
    throw new KoalaError(`koala ${what} needs Linux; on ${process.platform}, recordings can be read`);
  }
}

function nativeDirectories(): string[] {
  const fromEnvironment = process.env['KOALA_NATIVE_DIR'];
  if (fromEnvironment !== undefined && fromEnvironment !== '') return [resolve(fromEnvironment)];
  const platform = platformName();
  const directories = [fileURLToPath(new URL(`../../npm/${platform}`, import.meta.url))];
  try {
    directories.push(dirname(require.resolve(`@koala-replay/${platform}/package.json`)));
  } catch {
    // Not installed: an optional dependency.
  }
  return directories;
}

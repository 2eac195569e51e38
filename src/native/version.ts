/** Which koala this is. */
import { readFileSync } from 'node:fs';

/** The version in package.json, which is two folders up from here in `src/` and in `dist/` alike. */
export function koalaVersion(): string {
  const content: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const version =
    typeof content === 'object' && content !== null && 'version' in content ? content.version : undefined;
  return typeof version === 'string' ? version : '0.0.0';
}

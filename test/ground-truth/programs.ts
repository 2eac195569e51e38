// The files of test/ground-truth/programs.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The path of a file of test/ground-truth/programs. */
export const programPath = (name: string): string =>
  fileURLToPath(new URL(`programs/${name}`, import.meta.url));

/** What is in it. */
export const programText = (name: string): string => readFileSync(programPath(name), 'utf8');

/** A text with `@name@` replaced by the value of that name. */
export const fill = (text: string, values: Record<string, string>): string =>
  text.replaceAll(/@(\w+)@/g, (_, name: string) => values[name] ?? '');

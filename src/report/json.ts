/** The report for programs: a replay's result as JSON, to a file or a stream. */
import { writeFile } from 'node:fs/promises';
import { describeSystemError, KoalaError } from '../errors.ts';
import type { ReplayResult } from '../replay/result.ts';

/** The result as JSON text. */
export function jsonReport(result: ReplayResult): string {
  return `${JSON.stringify(result, null, 2)}\n`;
}

/** Writes the JSON report to a file. */
export async function writeJsonReport(result: ReplayResult, file: string): Promise<void> {
  await writeFile(file, jsonReport(result)).catch((error: unknown) => {
    throw new KoalaError(`${file} cannot be written: ${describeSystemError(error)}`);
  });
}

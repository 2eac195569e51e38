/** What the commands share. */
import { Command, UsageError } from 'clipanion';
import { KoalaError } from '../errors.ts';

/** A command of koala: it parses and prints; what it does is in the library beside `cli/`. */
export abstract class KoalaCommand extends Command {
  /** Writes a line for people who wait, to stderr. */
  protected say(text: string): void {
    this.context.stderr.write(`koala: ${text}\n`);
  }
}

/** A number from an option. */
export function parseNumber(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max) {
    throw new UsageError(`${name}: ${JSON.stringify(text)} is not a number from ${min} to ${max}`);
  }
  return value;
}

/** One of some words from an option. */
export function parseChoice<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) {
    throw new UsageError(`${name}: ${JSON.stringify(text)} is not known; it is one of ${choices.join(', ')}`);
  }
  return found;
}

/** Whether an error is the user's to solve: shown in one line, without a stack. */
export function isUserError(error: unknown): error is Error {
  return error instanceof KoalaError || error instanceof UsageError;
}

// Running commands: what they print goes where ours goes; a failure becomes a Failure with one readable line.
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './root.mjs';

/** Something that the person at the terminal can act on: printed without a stack trace. */
export class Failure extends Error {}

/** Whether a command is on PATH, or in the places where Debian keeps servers. */
export function findCommand(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
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

/** What a command prints, or undefined where it is missing or fails. */
export function output(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  return result.status === 0 ? result.stdout : undefined;
}

/**
 * Runs a command in the root, its output passed on, and answers with its exit code and, where asked for, what it
 * printed on stdout.
 */
export function run(command, args, { env, keepOutput = false, toStderr = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', keepOutput ? 'pipe' : toStderr ? 2 : 'inherit', 'inherit'],
    });
    const chunks = [];
    child.stdout?.on('data', (chunk) => {
      chunks.push(chunk);
      process.stdout.write(chunk);
    });
    child.on('error', (error) => {
      reject(
        new Failure(
          error.code === 'ENOENT' ? `${command} is not installed` : `cannot run ${command}: ${error.message}`,
        ),
      );
    });
    child.on('close', (code, signal) => {
      resolve({ code: code ?? 1, signal, stdout: Buffer.concat(chunks).toString() });
    });
  });
}

/**
 * Like `run`, but a failure of the command is a Failure that says what could not be done. All output goes to stderr:
 * these are the preparations for something whose own output is wanted.
 */
export async function must(what, command, args, options) {
  const result = await run(command, args, { ...options, toStderr: true });
  if (result.code !== 0 || result.signal) {
    throw new Failure(
      `${what} failed: \`${[command, ...args].join(' ')}\` ${result.signal ? `was ended by ${result.signal}` : `exited with ${result.code}`}`,
    );
  }
  return result;
}

/** Runs a script's main function; a Failure ends it with one line and exit code 1. */
export async function main(body) {
  try {
    process.exitCode = (await body(process.argv.slice(2))) ?? 0;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    process.stderr.write(`error: ${error.message}\n`);
    process.exitCode = 1;
  }
}

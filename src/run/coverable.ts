/**
 * Whether a command can be covered by a preloaded library at all. What cannot is refused before it is
 * started: a recording of nothing must never look like one.
 */
import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { describeSystemError, KoalaError } from '../errors.ts';

const HEAD = 64 * 1024;
const MAX_INTERPRETERS = 4;
const PT_INTERP = 3;
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** The executable that `command` names, having checked that it, or its interpreter, can be covered. */
export async function coverableProgram(command: string, env: NodeJS.ProcessEnv): Promise<string> {
  const path = await resolveCommand(command, env);
  await checkCoverable(path, env, 0);
  return path;
}

async function resolveCommand(command: string, env: NodeJS.ProcessEnv): Promise<string> {
  if (command === '') throw new KoalaError('the command is empty');
  if (command.includes('/')) {
    await checkExecutable(command);
    return resolve(command);
  }
  const directories = (env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin').split(delimiter);
  for (const directory of directories) {
    const path = resolve(join(directory === '' ? '.' : directory, command));
    if (await isExecutable(path)) return path;
  }
  throw new KoalaError(`${command}: command not found`);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function checkExecutable(path: string): Promise<void> {
  const info = await stat(path).catch((error: unknown) => {
    throw new KoalaError(`${path} cannot be run: ${describeSystemError(error)}`);
  });
  if (info.isDirectory()) throw new KoalaError(`${path} cannot be run: it is a directory`);
  if (!(await isExecutable(path))) throw new KoalaError(`${path} cannot be run: it is not executable`);
}

async function checkCoverable(path: string, env: NodeJS.ProcessEnv, depth: number): Promise<void> {
  const head = await readHead(path);
  if (head === undefined) return;
  if (head[0] === 0x23 && head[1] === 0x21) {
    if (depth >= MAX_INTERPRETERS) throw new KoalaError(`${path} cannot be run: too many interpreters`);
    const interpreter = await interpreterOf(path, head, env);
    await checkCoverable(interpreter, env, depth + 1);
    return;
  }
  if (head.subarray(0, 4).equals(Buffer.from('\x7fELF'))) {
    checkElf(path, head);
    await checkPrivileges(path);
  }
}

/** The first bytes of a file; undefined where we may run it but not read it. */
async function readHead(path: string): Promise<Buffer | undefined> {
  try {
    const handle = await open(path);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD), 0, HEAD, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

async function interpreterOf(path: string, head: Buffer, env: NodeJS.ProcessEnv): Promise<string> {
  const line =
    head
      .subarray(2, 2 + 255)
      .toString('latin1')
      .split('\n', 1)[0] ?? '';
  const words = line.trim().split(/\s+/);
  const [first, ...rest] = words;
  if (first === undefined || first === '')
    throw new KoalaError(`${path} cannot be run: its first line names no interpreter`);
  if (!first.endsWith('/env')) {
    if (!(await isExecutable(first)))
      throw new KoalaError(`${path} cannot be run: its interpreter ${first} does not exist`);
    return first;
  }
  const program = rest.find((word) => !word.startsWith('-') && !word.includes('='));
  if (program === undefined) return first;
  return resolveCommand(program, env).catch(() => {
    throw new KoalaError(`${path} cannot be run: its interpreter ${program} was not found`);
  });
}

function checkElf(path: string, head: Buffer): void {
  const wide = head[4] === 2;
  const little = head[5] === 1;
  const machine = little && head.length >= 20 ? head.readUInt16LE(18) : -1;
  if (!wide || machine !== MACHINES[process.arch]) {
    throw new KoalaError(
      `${path} cannot be covered: it is built for another processor than this ${process.arch}`,
    );
  }
  if (head.length < 64) throw new KoalaError(`${path} cannot be run: it is truncated`);
  const table = Number(head.readBigUInt64LE(32));
  const size = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  for (let index = 0; index < count; index += 1) {
    const at = table + index * size;
    // A program header table beyond what was read is unheard of; then the benefit of the doubt.
    if (size < 4 || at + 4 > head.length) return;
    if (head.readUInt32LE(at) === PT_INTERP) return;
  }
  throw new KoalaError(
    `${path} cannot be covered: it is statically linked, so that nothing can be preloaded into it; link it dynamically`,
  );
}

async function checkPrivileges(path: string): Promise<void> {
  const info = await stat(path);
  const setuid = (info.mode & 0o4000) !== 0 && info.uid !== process.geteuid?.();
  const setgid = (info.mode & 0o2000) !== 0 && info.gid !== process.getegid?.();
  if (setuid || setgid) {
    const bit = setuid ? 'setuid' : 'setgid';
    throw new KoalaError(
      `${path} cannot be covered: it is ${bit}, so that the system ignores LD_PRELOAD; run it as its owner or without the bit`,
    );
  }
}

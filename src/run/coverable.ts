/**
 * Whether a command can be covered by a preloaded library at all. What cannot is refused before it is
 * started: a recording of nothing must never look like one.
 */
import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { basename, delimiter, join, resolve } from 'node:path';
import { describeSystemError, KoalaError } from '../errors.ts';
import { isSanitizer, readElf, type Elf } from './elf.ts';

/** The kernel reads so much of a script's first line (execve(2)). */
const FIRST_LINE = 256;
const MAX_INTERPRETERS = 4;

/** Something that keeps a program from being covered (`problem`), or that may surprise (`warning`). */
export interface Obstacle {
  severity: 'problem' | 'warning';
  /** What, in one sentence that begins with the path. */
  what: string;
  /** What to do about it; empty where nothing helps. */
  remedy: string;
}

/** What is known of a command before it is started. */
export interface Inspection {
  /** The executable that its name stands for. */
  path: string;
  /** The executables that run for it: the script's interpreters, and last the program itself. */
  chain: readonly string[];
  /** Of the last one of the chain; undefined where it is no ELF file that we may read. */
  elf: Elf | undefined;
  obstacles: readonly Obstacle[];
}

/** The executable that `command` names, having checked that it, or its interpreter, can be covered. */
export async function coverableProgram(command: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { path, obstacles } = await inspectCommand(command, env);
  const problem = obstacles.find(({ severity }) => severity === 'problem');
  if (problem !== undefined) throw new KoalaError(oneLine(problem));
  return path;
}

/** An obstacle and its remedy in one line. */
export function oneLine({ what, remedy }: Obstacle): string {
  return remedy === '' ? what : `${what}; ${remedy}`;
}

/** Looks at what a command would run, without running it. A `KoalaError` says why nothing could be run at all. */
export async function inspectCommand(command: string, env: NodeJS.ProcessEnv): Promise<Inspection> {
  const path = await resolveCommand(command, env);
  const chain = [path];
  for (let last = path; ;) {
    const interpreter = await interpreterOf(last, env);
    if (interpreter === undefined) {
      const elf = await readElf(last);
      const obstacles =
        elf === undefined ? [] : [...obstaclesOf(last, elf, env), ...(await privileges(last))];
      return { path, chain, elf, obstacles: [...obstacles, ...wrapper(path)] };
    }
    if (chain.length > MAX_INTERPRETERS) throw new KoalaError(`${last} cannot be run: too many interpreters`);
    chain.push(interpreter);
    last = interpreter;
  }
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

/** What runs a script: its first line names it. Undefined where the file is no script, or may not be read. */
async function interpreterOf(path: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const head = await readHead(path);
  if (head[0] !== 0x23 || head[1] !== 0x21) return undefined;
  const line = head.subarray(2).toString('latin1').split('\n', 1)[0] ?? '';
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

/** The first bytes of a file; none where we may run it but not read it. */
async function readHead(path: string): Promise<Buffer> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return Buffer.alloc(0);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(FIRST_LINE), 0, FIRST_LINE, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function obstaclesOf(path: string, elf: Elf, env: NodeJS.ProcessEnv): Obstacle[] {
  const problem = (what: string, remedy = ''): Obstacle => ({
    severity: 'problem',
    what: `${path} cannot be covered: ${what}`,
    remedy,
  });
  const warning = (what: string, remedy: string): Obstacle => ({
    severity: 'warning',
    what: `${path} ${what}`,
    remedy,
  });
  if (!elf.native) return [problem(`it is built for another processor than this ${process.arch}`)];
  const obstacles: Obstacle[] = [];
  if (elf.interpreter === undefined) {
    obstacles.push(
      problem(
        `it is statically linked, so that nothing can be preloaded into it`,
        elf.go ? 'koala has no gateway for Go programs' : 'link it dynamically',
      ),
    );
  } else if (elf.go) {
    obstacles.push(
      problem(
        'it is a Go program, which makes its system calls itself',
        'koala has no gateway for Go programs',
      ),
    );
  }
  const runtime = elf.needed.find(isSanitizer);
  if (runtime !== undefined && !preloads(env).some(isSanitizer)) {
    obstacles.push(
      problem(
        `it is built with a sanitizer, whose runtime must be loaded first`,
        `say LD_PRELOAD=$(gcc -print-file-name=${runtime.replace(/\.so.*$/, '.so')}) before koala: it stays before koala's library`,
      ),
    );
  }
  if (elf.needed.some((name) => name.startsWith('liburing.so'))) {
    obstacles.push(
      warning(
        'uses io_uring: bytes that it moves over sockets in that way are not recorded, and marked as gaps',
        'tell it to use epoll, if it can',
      ),
    );
  }
  return obstacles;
}

/** What the user has preloaded already (ld.so(8): spaces and colons separate). */
function preloads(env: NodeJS.ProcessEnv): string[] {
  return (env['LD_PRELOAD'] ?? '').split(/[\s:]+/).filter((path) => path !== '');
}

/** `LD_PRELOAD` with koala's library in it: behind the runtimes of sanitizers, and before all others. */
export function preloadList(library: string, env: NodeJS.ProcessEnv): string {
  const others = preloads(env);
  return [...others.filter(isSanitizer), library, ...others.filter((other) => !isSanitizer(other))].join(':');
}

async function privileges(path: string): Promise<Obstacle[]> {
  const info = await stat(path);
  const setuid = (info.mode & 0o4000) !== 0 && info.uid !== process.geteuid?.();
  const setgid = (info.mode & 0o2000) !== 0 && info.gid !== process.getegid?.();
  if (!setuid && !setgid) return [];
  const bit = setuid ? 'setuid' : 'setgid';
  return [
    {
      severity: 'problem',
      what: `${path} cannot be covered: it is ${bit}, so that the system ignores LD_PRELOAD`,
      remedy: 'run it as its owner or without the bit',
    },
  ];
}

/** Commands that only ask a daemon to start the program: it is no child of theirs, and inherits nothing. */
const DAEMONS_START_IT = new Set([
  'docker',
  'podman',
  'nerdctl',
  'kubectl',
  'systemctl',
  'systemd-run',
  'service',
]);

function wrapper(path: string): Obstacle[] {
  const name = basename(path);
  if (!DAEMONS_START_IT.has(name)) return [];
  return [
    {
      severity: 'warning',
      what: `${path} has the program started by a daemon, which koala does not reach`,
      remedy: 'run koala where the program runs: in its container or its unit',
    },
  ];
}

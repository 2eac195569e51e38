/** The processes and ports of the demo. */
import { spawn, type ChildProcess } from 'node:child_process';
import { connect, createServer, type AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { errorCode, errorMessage, KoalaError } from '../errors.ts';

const START_TIMEOUT = 10_000;

/** What the service depends on, running. */
export interface Dependencies {
  redisPort: number;
  ratesPort: number;
  /** What the Redis is, in words. */
  redisName: string;
  /** Ends the processes and checks that their ports are closed. */
  stop(): Promise<void>;
}

/** The path of a program of the demo, as Node can run it. */
export function demoProgram(name: string): string {
  const here = fileURLToPath(import.meta.url);
  // Run from sources, the programs that the demo starts are still the built ones: Node can't run TypeScript.
  const url = here.endsWith('.ts') ? `../../dist/demo/${name}.js` : `./${name}.js`;
  return fileURLToPath(new URL(url, import.meta.url));
}

/** Starts the upstreams, and a real Redis if wanted. */
export async function startDependencies(realRedis: boolean): Promise<Dependencies> {
  const redis = realRedis ? await startRealRedis() : undefined;
  const upstreams = spawn(process.execPath, [demoProgram('upstreams'), ...(realRedis ? [] : ['--redis'])], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ports = JSON.parse(await firstLine(upstreams)) as { rates: number; redis: number };
  const redisPort = redis?.port ?? ports.redis;
  return {
    redisPort,
    ratesPort: ports.rates,
    redisName: redis === undefined ? 'a Redis-protocol server, embedded' : redis.name,
    stop: async () => {
      await Promise.all([end(upstreams), redis === undefined ? undefined : end(redis.child)]);
      for (const port of [redisPort, ports.rates]) {
        if (await accepts(port)) throw new KoalaError(`something still listens on 127.0.0.1:${port}`);
      }
    },
  };
}

async function startRealRedis(): Promise<{ child: ChildProcess; port: number; name: string }> {
  const port = await freePort();
  const options = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--daemonize',
    'no',
  ];
  const child = spawn('redis-server', options, { stdio: ['ignore', 'ignore', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      const missing = errorCode(error) === 'ENOENT';
      const why = missing
        ? 'redis-server is not in PATH: install Redis, or leave out --redis'
        : errorMessage(error);
      reject(new KoalaError(why));
    });
  });
  await waitForPort(port, () => child.exitCode === null);
  return { child, port, name: `redis-server, process ${child.pid}` };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
}

async function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error('the process has no standard output');
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', () => reject(new KoalaError('the upstreams of the demo could not be started')));
  });
}

/** A port of the loopback interface that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  return port;
}

/** Waits until something listens on `port`, as long as `running` says that it may. */
export async function waitForPort(port: number, running: () => boolean): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT;
  while (!(await accepts(port))) {
    if (!running() || Date.now() > deadline) throw new KoalaError(`nothing listens on 127.0.0.1:${port}`);
    await sleep(20);
  }
}

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

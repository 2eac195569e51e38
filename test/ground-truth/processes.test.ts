// Processes that come to be in all ways: whatever they do is covered.
import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { koala } from '../support/koala.ts';
import { commandPath } from '../support/needs.ts';
import { readRaw } from '../support/recording.ts';
import { type Server, startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder, until } from '../support/system.ts';
import { assertSessions, load } from './load.ts';
import { programPath } from './programs.ts';
import { type Outcome, Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('python3');
const asRoot = skip || (process.getuid?.() === 0 ? false : 'needs root');

interface Service {
  port: number;
  folder: string;
  command: string[];
}

/** The command of a server of processes.py. */
async function service(t: TestContext, kind: string): Promise<Service & { upstream: Server }> {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url} `.repeat(200) }));
  const [port, folder] = [await freePort(), await temporaryFolder(t)];
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  const settings = { port, upstream: upstream.port, empty, pid: join(folder, 'pid') };
  const python = ['/usr/bin/python3', programPath('processes.py'), kind, JSON.stringify(settings)];
  return { port, folder, command: python, upstream };
}

/** Loads the server, ends it, and fails unless everything is recorded: a session and `calls` calls for each request. */
async function assertCovered(program: Traced, port: number, signal?: NodeJS.Signals): Promise<Outcome> {
  const exchanges = await load(port, 6, (client, round) => ({ path: `/${client}/${round}` }));
  const outcome = await program.stop(signal);
  assertTrue(outcome, { inbound: 16, outbound: exchanges.length });
  assertSessions(outcome.sessions, exchanges);
  return outcome;
}

for (const [kind, what, reason] of [
  ['fork', 'workers that multiprocessing forks', skip],
  ['spawn', 'workers that multiprocessing starts anew', skip],
  ['subprocess', 'programs and pipelines started while other threads serve', lackingAny('python3', 'curl')],
  ['chroot', 'workers in a chroot that dropped their privileges', asRoot],
  ['chroot-own', 'a worker that was in a chroot before it did anything on the network', asRoot],
] as const) {
  test(what, { skip: reason }, async (t) => {
    const { port, command } = await service(t, kind);
    const program = await Traced.start(t, command, { port });
    await assertCovered(program, port);
  });
}

test('gunicorn, which forks before it serves', { skip: lackingAny('gunicorn', 'requests') }, async (t) => {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url} `.repeat(200) }));
  const port = await freePort();
  const options = ['--workers', '3', '--threads', '4', '--bind', `127.0.0.1:${port}`, '--log-level', 'error'];
  const command = ['/usr/bin/python3', commandPath('gunicorn'), ...options, '--chdir', programPath('')];
  const env = { UPSTREAM: String(upstream.port) };
  const program = await Traced.start(t, [...command, 'prefork:application'], { port, env });
  const exchanges = await load(port, 6, (client, round) => ({ path: `/${client}/${round}` }));
  const outcome = await program.stop();
  assertTrue(outcome, { inbound: 16, outbound: 3 });
  assertSessions(outcome.sessions, exchanges);
});

test('children of Node, of all kinds', { skip: lackingAny('curl') }, async (t) => {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url} `.repeat(200) }));
  const port = await freePort();
  const settings = JSON.stringify({ port, upstream: upstream.port });
  const program = await Traced.start(t, [process.execPath, programPath('children.mjs'), settings], { port });
  const exchanges = await load(port, 2, (client, round) => ({ path: `/${client}/${round}` }));
  const outcome = await program.stop();
  assertTrue(outcome, { inbound: 16, outbound: 2 * exchanges.length + 2 });
  assertSessions(outcome.sessions, exchanges);
});

/** A recording of a shell command in which `$URL` is an HTTP upstream. */
async function shell(t: TestContext, command: string): Promise<Outcome> {
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url} `.repeat(200) }));
  const env = { URL: `http://127.0.0.1:${upstream.port}` };
  const outcome = await (await Traced.start(t, ['/bin/sh', '-c', command], { env })).end();
  assert.equal(outcome.ended.code, 0, outcome.ended.stderr);
  return outcome;
}

test('pipelines, substitutions and background jobs of a shell', { skip: lackingAny('curl') }, async (t) => {
  const outcome = await shell(
    t,
    'set -e; curl -s $URL/1 | tr a-z A-Z | wc -c; x=$(curl -s $URL/2); y=`curl -s $URL/3 | cat`; ' +
      'curl -s $URL/4 >/dev/null & (cd /; curl -s $URL/5 | cat >/dev/null); wait; test "$x" != "$y"; exec curl -s $URL/6',
  );
  assertTrue(outcome, { outbound: 6 });
});

test('a program whose environment is scrubbed before its exec', { skip: lackingAny('curl') }, async (t) => {
  const curl = commandPath('curl');
  const outcome = await shell(
    t,
    `set -e; env -i ${curl} -s $URL/1 >/dev/null; env -i /bin/sh -c "exec ${curl} -s $URL/2" >/dev/null; ` +
      `env -u LD_PRELOAD ${curl} -s $URL/3 >/dev/null; unset LD_PRELOAD; ${curl} -s $URL/4 >/dev/null`,
  );
  assertTrue(outcome, { outbound: 4 });
});

for (const [name, as] of [
  ['setpriv', ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--']],
  ['runuser', ['runuser', '-u', 'nobody', '--']],
] as const) {
  test(
    `a command that ${name} makes another user, with koala in a folder of root`,
    { skip: asRoot },
    async (t) => {
      const { port, command } = await service(t, 'plain');
      const home = await temporaryFolder(t);
      const native =
        process.env['KOALA_NATIVE_DIR'] ??
        fileURLToPath(new URL(`../../npm/linux-${process.arch}-gnu`, import.meta.url));
      cpSync(native, home, { recursive: true });
      chmodSync(home, 0o700);
      const [path = '', ...options] = as;
      const env = { KOALA_NATIVE_DIR: home };
      const program = await Traced.start(t, [commandPath(path), ...options, ...command], { port, env });
      const { ended } = await assertCovered(program, port);
      assert.doesNotMatch(ended.stderr, /LD_PRELOAD|cannot be preloaded/);
    },
  );
}

test('a program that is the first of its process namespace', { skip: asRoot }, async (t) => {
  const { port, command } = await service(t, 'plain');
  const unshare = [commandPath('unshare'), '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--'];
  const program = await Traced.start(t, [...unshare, ...command], { port });
  await assertCovered(program, port, 'SIGKILL');
});

test('a daemon that has forked twice', { skip }, async (t) => {
  const { port, folder, command } = await service(t, 'daemon');
  const program = await Traced.start(t, command, { port });
  const exchanges = await load(port, 6, (client, round) => ({ path: `/${client}/${round}` }));
  process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), 'SIGTERM');
  const outcome = await program.end();
  assertTrue(outcome, { inbound: 16, outbound: exchanges.length });
  assertSessions(outcome.sessions, exchanges);
});

test('a daemon is recorded on when the command has ended', { skip }, async (t) => {
  const { port, folder, command } = await service(t, 'daemon');
  const to = join(folder, 'recording');
  const ended = koala(t, ['record', '--to', to, '--', ...command]);
  const pid = await until('the daemon', () => {
    const file = join(folder, 'pid');
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    return text === '' ? undefined : Number(text);
  });
  t.after(() => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  const exchanges = await load(port, 6, (client, round) => ({ path: `/${client}/${round}` }));
  process.kill(pid, 'SIGTERM');
  assert.equal((await ended).code, 0);
  const sessions = await until('the sessions', async () => {
    const read = await readRaw(to);
    return read.filter((session) => session['CallFromInbound']).length >= exchanges.length && read;
  });
  assertSessions(sessions, exchanges);
});

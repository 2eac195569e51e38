// LD_PRELOAD and an environment variable are enough: the library starts the agent, and the program does not notice.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { agents } from './support/koala.ts';
import { installed } from './support/library.ts';
import { assertRecorded, load } from './support/load.ts';
import { findCommand, lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, readSessions, requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { freePort, Running, until } from './support/system.ts';

const skip = lacking('gcc', 'redis-server', 'python3');

const gone = (to: string): Promise<unknown> =>
  until('the end of the agent', async () => (await agents(to)).length === 0);

test('a program under LD_PRELOAD alone is recorded whole', { skip }, async (t) => {
  const { library, to } = await installed(t);
  const redis = await startRedis(t);
  const port = await freePort();
  const program = [compiled('threaded'), String(port), String(redis.port)];
  const running = new Running(t, program[0] ?? '', program.slice(1), {
    LD_PRELOAD: library,
    KOALA_RECORD_TO_DIR: to,
  });
  await running.listening(port);
  const { ledgers, stop, over } = load(port, 4);
  await until('a load', async () => ledgers.every(({ length }) => length > 20));
  const children = await readFile(`/proc/${running.pid}/task/${running.pid}/children`, 'latin1');
  assert.equal(children.trim(), '', 'the program has no child');
  stop();
  await over;
  process.kill(running.pid, 'SIGTERM');
  const { code, stderr } = await running.end();
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  await gone(to);
  await assertRecorded(to, ledgers, { killed: false });
  const manifest = await readManifest(to);
  assert.deepEqual(manifest['Command'], program);
  assert.equal(typeof manifest['FinishedAt'], 'string');
});

/** Why no process can be the first of a namespace here; `false` where one can. */
function lackingNamespaces(): string | false {
  const missing = skip || (findCommand('unshare') === undefined && 'needs unshare');
  if (missing) return missing;
  try {
    execFileSync('unshare', ['--pid', '--fork', '--mount-proc', 'true'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'needs leave to make process namespaces (root)';
  }
}

test(
  'the first process of a namespace, under LD_PRELOAD alone, whose end is that of the agent',
  { skip: lackingNamespaces() },
  async (t) => {
    const { library, to } = await installed(t);
    const redis = await startRedis(t);
    const port = await freePort();
    const covered = ['env', `LD_PRELOAD=${library}`, `KOALA_RECORD_TO_DIR=${to}`];
    const program = [compiled('threaded'), String(port), String(redis.port)];
    const args = ['--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL', ...covered, ...program];
    const running = new Running(t, 'unshare', args);
    await running.listening(port);
    const children = await readFile(`/proc/${running.pid}/task/${running.pid}/children`, 'latin1');
    const { ledgers, stop, over } = load(port, 4);
    await until('a load', async () => ledgers.every(({ length }) => length > 20));
    stop();
    await over;
    process.kill(Number.parseInt(children, 10), 'SIGTERM');
    const { code, stderr } = await running.end();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    await gone(to);
    await assertRecorded(to, ledgers, { killed: false });
    assert.equal(typeof (await readManifest(to))['FinishedAt'], 'string');
  },
);

/**
 * Makes connections, and starts `cat` for each, with one end as its standard input and output: the accepted one, as inetd
 * does, or the one that was opened, as a wrapper does that connects for others.
 */
const inetd = `
import os, socket, subprocess, sys
env = dict(os.environ, LD_PRELOAD=sys.argv[1], KOALA_RECORD_TO_DIR=sys.argv[2])
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    for number in range(3):
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        if sys.argv[3] == "opened":
            client, accepted = accepted, client
        cat = subprocess.Popen(["cat"], stdin=accepted, stdout=accepted, env=env)
        accepted.close()
        for text in (b"hello %d" % number, b"and again"):
            client.sendall(text)
            assert client.recv(100) == text
        client.close()
        assert cat.wait() == 0
`;

/** Records what `cat` does with this end of the connections; where to. */
async function recordCats(t: TestContext, end: 'accepted' | 'opened'): Promise<string> {
  const { library, to } = await installed(t);
  const { code, stderr } = await new Running(t, 'python3', ['-c', inetd, library, to, end]).end();
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  await gone(to);
  return to;
}

test('a program that is started for a connection by one that is not recorded', { skip }, async (t) => {
  const to = await recordCats(t, 'accepted');
  const sessions = await requestSessions(to);
  assert.deepEqual(
    sessions.map(({ request, response }) => [request, response]),
    ['hello 0', 'hello 1', 'hello 2'].flatMap((text) => [
      [text, text],
      ['and again', 'and again'],
    ]),
  );
  assert.equal((await readManifest(to))['Gaps'], 0);
});

test('a program that is started with a connection which another has opened', { skip }, async (t) => {
  const to = await recordCats(t, 'opened');
  const sessions = await readSessions(to);
  assert.ok(sessions.every(({ boot }) => boot));
  const talks = sessions.map(({ calls }) => calls.flatMap(({ Request, Response }) => [Request, Response]));
  assert.deepEqual(
    talks.toSorted(),
    [0, 1, 2].map((number) => ['', `hello ${number}`, `hello ${number}`, 'and again', 'and again', '']),
  );
  assert.equal((await readManifest(to))['Gaps'], 0);
});

test('processes that need an agent at the same instant get one', { skip }, async (t) => {
  const { library, to } = await installed(t);
  const redis = await startRedis(t);
  const ports = await Promise.all(Array.from({ length: 6 }, freePort));
  const programs = ports.map(
    (port) =>
      new Running(t, compiled('threaded'), [String(port), String(redis.port)], {
        LD_PRELOAD: library,
        KOALA_RECORD_TO_DIR: to,
      }),
  );
  for (const [index, port] of ports.entries()) {
    await programs[index]?.listening(port);
    const client = await Client.connect(port);
    assert.equal(parts((await client.http('GET', `/of${index}`)).response).status, 404);
    client.close();
  }
  // One, and its standby.
  await until('one agent with a standby', async () => (await agents(to)).length === 2);
  for (const program of programs) process.kill(program.pid, 'SIGTERM');
  for (const program of programs) assert.equal((await program.end()).code, 0);
  await gone(to);
  assert.equal((await requestSessions(to)).length, ports.length);
  assert.equal((await readdir(to)).filter((name) => name.endsWith('.cborseq')).length, 1);
});

test('what does nothing on the network starts nothing', { skip: lacking() }, async (t) => {
  const { library, to } = await installed(t);
  for (const command of [['ls', '/'], ['true'], ['sh', '-c', 'true'], ['sh', '-c', 'ls / | wc -l']]) {
    const [name = '', ...args] = command;
    const env = { LD_PRELOAD: library, KOALA_RECORD_TO_DIR: to };
    const { code, stderr } = await new Running(t, name, args, env).end();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  }
  assert.deepEqual(await agents(to), []);
  await assert.rejects(readdir(to), 'there is no recording');
});

test('a program whose agent cannot start goes on, and the log says why', { skip }, async (t) => {
  const { library, folder } = await installed(t);
  const to = join(folder, 'lib', 'libkoala.so', 'below');
  const redis = await startRedis(t);
  const port = await freePort();
  const running = new Running(t, compiled('threaded'), [String(port), String(redis.port)], {
    LD_PRELOAD: library,
    KOALA_RECORD_TO_DIR: to,
    KOALA_RUNTIME_DIR: join(folder, 'runtime'),
  });
  await running.listening(port);
  const client = await Client.connect(port);
  assert.equal(parts((await client.http('GET', '/one')).response).status, 404);
  client.close();
  process.kill(running.pid, 'SIGTERM');
  const { code, stderr } = await running.end();
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const log = await readFile(join(folder, 'runtime', 'agent.log'), 'utf8');
  assert.match(log, /ERROR.*nothing is recorded: can't record to .*below/);
});

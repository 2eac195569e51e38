// Where something runs out: descriptors, memory, disk, the agent itself. The program goes on as it would without
// koala, what is not recorded is counted and said, and what is on disk can be read.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findBinary } from '../src/native/binaries.ts';
import { Client, parts } from './support/client.ts';
import { agents, koala } from './support/koala.ts';
import { installed } from './support/library.ts';
import { type Ledger, answers, assertRecorded, load } from './support/load.ts';
import { findCommand, lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, requestSessions } from './support/recording.ts';
import { startRedis } from './support/servers.ts';
import { type Ended, Running, freePort, processesOn, temporaryFolder, until } from './support/system.ts';

const skip = lacking('gcc', 'redis-server');
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

/** Why nothing can be mounted here; `false` where it can. */
function cannotMount(): string | false {
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return skip;
  } catch {
    return 'needs a mount namespace (root)';
  }
}

const mounting = cannotMount();
const limiting = findCommand('prlimit') === undefined ? 'needs prlimit' : skip;

/** The program that most tests here record, and where. */
interface Subject {
  folder: string;
  to: string;
  port: number;
  program: string[];
}

async function subject(t: TestContext): Promise<Subject> {
  const redis = await startRedis(t);
  const folder = await temporaryFolder(t);
  const to = join(folder, 'recording');
  const port = await freePort();
  t.after(async () => {
    for (const { pid } of await agents(to)) process.kill(pid, 'SIGKILL');
  });
  return { folder, to, port, program: [compiled('threaded'), String(port), String(redis.port)] };
}

/** Runs a shell script; its arguments are `$@`. */
const shell = (t: TestContext, script: string, args: string[], env?: NodeJS.ProcessEnv): Running =>
  new Running(t, 'sh', ['-c', script, 'sh', ...args], env);

/** `koala record`, as arguments of a script. */
const recorder = (to: string, program: string[]): string[] => [
  process.execPath,
  cli,
  'record',
  '--to',
  to,
  '--',
  ...program,
];

/** The processes of the program with this port. */
async function programs(port: number): Promise<number[]> {
  const found = await processesOn(compiled('threaded'), port);
  return found.map(({ pid }) => pid);
}

/** Ends the program, and waits for what runs it. */
async function finish(running: Running, ...ports: number[]): Promise<Ended> {
  for (const port of ports) for (const pid of await programs(port)) process.kill(pid, 'SIGTERM');
  return running.end();
}

/** Asserts that every answer is the one that the program gives without koala. */
function assertRight(ledgers: Ledger[], status = 404): void {
  for (const { request, response } of ledgers.flat()) {
    const key = request.split(' ')[1]?.slice(1);
    assert.deepEqual(parts(response), { status, body: `${key}=\n` });
  }
}

/** A load until each connection has had `least` answers. */
async function served(port: number, connections: number, least: number): Promise<Ledger[]> {
  const { ledgers, stop, over } = load(port, connections);
  await until(
    'a load',
    () => ledgers.length === connections && ledgers.every(({ length }) => length >= least),
  );
  stop();
  await over;
  return ledgers;
}

test('a /dev/shm of 1 MB is not needed', { skip: mounting }, async (t) => {
  const { to, port, program } = await subject(t);
  const script = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"';
  const running = shell(t, `exec unshare -m sh -c '${script}' sh "$@"`, recorder(to, program));
  await running.listening(port);
  const ledgers = await served(port, 16, 300);
  const { code, stderr } = await finish(running, port);
  assert.equal(code, 0, stderr);
  assertRight(ledgers);
  await assertRecorded(to, ledgers, { killed: false });
  assert.match(stderr, /\(0 lost\)/);
});

test('a disk that is full: what was written is whole, the rest is counted', { skip: mounting }, async (t) => {
  const { folder, port, program } = await subject(t);
  const [disk, copy] = [join(folder, 'disk'), join(folder, 'copy')];
  await mkdir(disk);
  const script = `mount -t tmpfs -o size=1m tmpfs ${disk} && { "$@"; code=$?; cp -r ${disk}/recording ${copy}; exit $code; }`;
  const running = shell(
    t,
    `exec unshare -m sh -c '${script}' sh "$@"`,
    recorder(join(disk, 'recording'), program),
  );
  await running.listening(port);
  const ledgers = await served(port, 8, 1500);
  const { code, stderr } = await finish(running, port);
  assert.equal(code, 0, stderr);
  assertRight(ledgers);
  const sessions = await requestSessions(copy);
  const manifest = await readManifest(copy);
  const lost = answers(ledgers) - sessions.length;
  assert.ok(sessions.length > 100 && lost > 100, `${sessions.length} of ${answers(ledgers)}`);
  assert.deepEqual(manifest['Lost'], { Events: 0, Bytes: 0, Sessions: lost });
  assert.equal(manifest['Sessions'], sessions.length);
  assert.match(String(manifest['Error']), /No space left/);
  assert.match(stderr, new RegExp(`LOST: ${lost} sessions that could not be written`));
  assert.match(stderr, /WRITING STOPPED: .*No space left/);
  const list = await koala(t, ['sessions', 'list', copy]);
  assert.equal(list.code, 0, list.stderr);
});

test('a recording directory that only can be read is refused', { skip: mounting }, async (t) => {
  const { folder, program } = await subject(t);
  const script = `mount -t tmpfs -o ro tmpfs ${folder} && exec "$@"`;
  for (const to of [folder, join(folder, 'recording')]) {
    const running = shell(t, `exec unshare -m sh -c '${script}' sh "$@"`, recorder(to, program));
    const { code, stdout, stderr } = await running.end();
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
    assert.match(
      stderr,
      /^koala: [^\n]*[Rr]ead-only file system[^\n]*\n$|^koala: [^\n]*file system is read-only\n$/,
    );
    assert.ok(stderr.includes(folder), stderr);
  }
});

/** Requests one after the other, each on a connection of its own. */
async function oneByOne(port: number): Promise<Ledger> {
  const ledger: Ledger = [];
  for (let request = 0; request < 20; request += 1) {
    const client = await Client.connect(port);
    ledger.push(await client.http('GET', `/r${request}`));
    await client.finish();
  }
  return ledger;
}

// Too few to have the log, and enough.
for (const descriptors of [5, 8]) {
  test(`a program that may have ${descriptors} descriptors`, { skip }, async (t) => {
    const { to, port, program } = await subject(t);
    const limited = ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...program];
    const [command = '', ...args] = limited;
    const bare = new Running(t, command, args);
    await bare.listening(port);
    const expected = await oneByOne(port);
    assert.equal((await finish(bare, port)).code, 0);
    const running = shell(t, 'exec "$@"', recorder(to, limited));
    await running.listening(port);
    assert.deepEqual(await oneByOne(port), expected);
    const { code, stdout, stderr } = await finish(running, port);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: `served ${expected.length}\n` }, stderr);
    const recorded = (await requestSessions(to)).map(({ request, response }) => ({ request, response }));
    if (recorded.length === 0) assert.match(stderr, /NOTHING WAS RECORDED|NOT COVERED: .*threaded/);
    else assert.deepEqual(recorded, expected);
  });
}

test('a program that has no descriptors left for all its clients', { skip }, async (t) => {
  const { to, port, program } = await subject(t);
  const limited = ['sh', '-c', 'ulimit -n 24; exec "$@"', 'sh', ...program];
  const running = shell(t, 'exec "$@"', recorder(to, limited));
  await running.listening(port);
  const ledgers = await Promise.all(
    Array.from({ length: 60 }, async (_, connection) => {
      // Accepted when another one has gone.
      const client = await Client.connect(port);
      const ledger: Ledger = [];
      for (let request = 0; request < 5; request += 1)
        ledger.push(await client.http('GET', `/c${connection}r${request}`));
      await client.finish();
      return ledger;
    }),
  );
  const { code, stderr } = await finish(running, port);
  assert.equal(code, 0, stderr);
  const sessions = await requestSessions(to);
  assert.deepEqual(
    new Map(sessions.map(({ request, response }) => [request, response])),
    new Map(ledgers.flat().map(({ request, response }) => [request, response])),
  );
});

test(
  'a program without memory for the log goes on, and is told of; others are recorded',
  { skip },
  async (t) => {
    const { to, port, program } = await subject(t);
    const other = await freePort();
    const [path = '', , redis = ''] = program;
    const both = ['sh', '-c', '(ulimit -v 60000; exec "$1" "$2" "$4") & "$1" "$3" "$4" & wait', 'sh'];
    const running = shell(t, 'exec "$@"', recorder(to, [...both, path, String(port), String(other), redis]));
    await running.listening(port);
    await running.listening(other);
    const [limited, free] = [await served(port, 4, 50), await served(other, 4, 50)];
    const { code, stderr } = await finish(running, port, other);
    assert.equal(code, 0, stderr);
    assertRight([...limited, ...free]);
    assert.match(stderr, /NOT COVERED: \S*threaded-gcc: it can't map the event log: its memory/);
    await assertRecorded(to, free, { killed: false });
  },
);

/** A group of processes that may have so much memory, by the folder of its settings; a string says why there is none. */
async function memoryGroup(t: TestContext, bytes: number): Promise<{ group: string } | string> {
  for (const [root, file] of [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const) {
    const group = join(root, `koala-test-${process.pid}`);
    try {
      await mkdir(group);
    } catch {
      continue;
    }
    t.after(() =>
      until('the end of the group', () =>
        rmdir(group).then(
          () => true,
          () => false,
        ),
      ),
    );
    try {
      await writeFile(join(group, file), String(bytes));
      return { group };
    } catch {
      // The folder is none of such a group.
    }
  }
  return 'needs a memory group (root)';
}

for (const alone of [false, true]) {
  const whose = alone ? 'of its own, and the agent in another group' : 'together with the agent';
  test(
    `a program with little memory ${whose} is not ended for the log that fills up`,
    { skip },
    async (t) => {
      const made = await memoryGroup(t, alone ? 24 << 20 : 40 << 20);
      if (typeof made === 'string') {
        t.skip(made);
        return;
      }
      const { library, to } = await installed(t);
      const redis = await startRedis(t, { large: 'x'.repeat(4000) });
      const port = await freePort();
      const program = [compiled('threaded'), String(port), String(redis.port)];
      const moved = `echo $$ > ${made.group}/cgroup.procs && `;
      const running = alone
        ? shell(t, 'exec "$@"', recorder(to, ['sh', '-c', `${moved} exec "$@"`, 'sh', ...program]))
        : // The library starts the agent, and that its standby, in the same group.
          shell(t, `${moved} LD_PRELOAD=${library} exec "$@"`, program, { KOALA_RECORD_TO_DIR: to });
      await running.listening(port);
      const client = await Client.connect(port);
      await client.http('GET', '/large');
      await until('an agent with a standby', async () => (await agents(to)).length === 2);
      const all = await agents(to);
      for (const { pid } of all) process.kill(pid, 'SIGSTOP');
      // More than twice as much as the log has room for elsewhere.
      for (let request = 0; request < 20_000; request += 1) {
        const { response } = await client.http('GET', '/large');
        assert.equal(parts(response).status, 200);
      }
      for (const { pid } of all) process.kill(pid, 'SIGCONT');
      client.close();
      const ended = await finish(running, port);
      assert.deepEqual({ code: ended.code, stdout: ended.stdout }, { code: 0, stdout: 'served 20001\n' });
      await until('the end of the agent', async () => (await agents(to)).length === 0);
      const { Sessions, NotAdmitted, Lost } = await readManifest(to);
      assert.ok(Number(NotAdmitted) > 0, 'the log was full');
      const lost = (Lost as { Sessions: number }).Sessions;
      assert.equal(Number(Sessions) + Number(NotAdmitted) + lost, 20_001);
    },
  );
}

/** Limits the agent and its standby. */
async function limit(to: string, option: string): Promise<void> {
  await until('an agent with a standby', async () => (await agents(to)).length === 2);
  for (const { pid } of await agents(to)) execFileSync('prlimit', ['--pid', String(pid), option]);
}

test('an agent without memory', { skip: limiting }, async (t) => {
  const { to, port, program } = await subject(t);
  const running = shell(t, 'exec "$@"', recorder(to, program));
  await running.listening(port);
  const { ledgers, stop, over } = load(port, 4);
  await until('a load', () => answers(ledgers) > 1000);
  const before = new Set(ledgers.flat().map(({ request }) => request));
  // What they gather for the disk is written after a tenth of a second.
  await sleep(500);
  await limit(to, '--as=1000000');
  await until('a load', () => answers(ledgers) > 20_000);
  stop();
  await over;
  const { code, stderr } = await finish(running, port);
  assert.equal(code, 0, stderr);
  assertRight(ledgers);
  // Either it did with the memory that it had, or it is gone, and that is said.
  if (/\(0 lost\)/.test(stderr)) await assertRecorded(to, ledgers, { killed: false });
  else assert.match(stderr, /the recording is not complete: /);
  const recorded = new Map((await requestSessions(to)).map((session) => [session.request, session]));
  for (const { request, response } of ledgers.flat().filter((one) => before.has(one.request)))
    assert.equal(recorded.get(request)?.response, response, request);
  const list = await koala(t, ['sessions', 'list', to]);
  assert.equal(list.code, 0, list.stderr);
});

test('an agent with few descriptors follows more processes than that', { skip: limiting }, async (t) => {
  const { folder, to, port, program } = await subject(t);
  const ports = [port, ...(await Promise.all(Array.from({ length: 29 }, freePort)))];
  const [path = '', , redis = ''] = program;
  const go = join(folder, 'go');
  const script =
    `until [ -e ${go} ]; do sleep 0.1; done; ` +
    'program=$1 redis=$2; shift 2; for port; do "$program" $port $redis & done; wait';
  const all = ['sh', '-c', script, 'sh', path, redis, ...ports.map(String)];
  const running = shell(t, 'exec "$@"', recorder(to, all));
  await limit(to, '--nofile=20');
  await writeFile(go, '');
  for (const one of ports) await running.listening(one);
  const ledgers: Ledger[] = [];
  for (const one of ports) ledgers.push(...(await served(one, 1, 3)));
  const { code, stderr } = await finish(running, ...ports);
  assert.equal(code, 0, stderr);
  assertRight(ledgers);
  // Each program was asked for the same paths.
  assert.equal((await requestSessions(to)).length, answers(ledgers), stderr);
});

const agentsThatFail = {
  missing: undefined,
  'not executable': { mode: 0o644, text: '#!/bin/sh\n' },
  'no program': { mode: 0o755, text: 'garbage' },
  'ending at once': { mode: 0o755, text: '#!/bin/sh\nexit 1\n' },
  'never answering': { mode: 0o755, text: '#!/bin/sh\nsleep 5\n' },
};

for (const [what, agent] of Object.entries(agentsThatFail)) {
  test(`LD_PRELOAD with an agent that cannot start: ${what}`, { skip }, async (t) => {
    const { folder, to, port, program } = await subject(t);
    const library = join(folder, 'libkoala.so');
    await copyFile(findBinary('libkoala.so'), library);
    if (agent !== undefined) {
      await writeFile(join(folder, 'koala-agent'), agent.text);
      await chmod(join(folder, 'koala-agent'), agent.mode);
    }
    const [path = '', ...args] = program;
    const running = new Running(t, path, args, { LD_PRELOAD: library, KOALA_RECORD_TO_DIR: to });
    await running.listening(port);
    const ledgers = await served(port, 4, 20);
    // It is asked for again, after pauses: that is over, too.
    await sleep(500);
    ledgers.push(...(await served(port, 4, 20)));
    const { code, stdout, stderr } = await finish(running, port);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.equal(stdout, `served ${answers(ledgers)}\n`);
    assertRight(ledgers);
    await assert.rejects(readdir(to), 'there is no recording');
  });
}

for (const [what, agent] of Object.entries(agentsThatFail)) {
  if (what === 'never answering') continue;
  test(`koala record with an agent that cannot start: ${what}`, { skip: lacking() }, async (t) => {
    const folder = await temporaryFolder(t);
    await copyFile(findBinary('libkoala.so'), join(folder, 'libkoala.so'));
    if (agent !== undefined) {
      await writeFile(join(folder, 'koala-agent'), agent.text);
      await chmod(join(folder, 'koala-agent'), agent.mode);
    }
    const started = join(folder, 'started');
    const told = await koala(t, ['record', '--to', join(folder, 'recording'), '--', 'touch', started], {
      KOALA_NATIVE_DIR: folder,
    });
    assert.deepEqual({ code: told.code, stdout: told.stdout }, { code: 2, stdout: '' }, told.stderr);
    assert.match(told.stderr, /^koala: [^\n]*koala-agent[^\n]*\n$/, 'one line');
    assert.ok(!(await readdir(folder)).includes('started'), 'the program was not started');
  });
}

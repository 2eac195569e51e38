// Requests that several processes answer, one way or another: what they do is in the session of the request.
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { agents, koala, record, stop } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { compiled, programFile } from './support/programs.ts';
import { type Session, readManifest, readRaw, requestSessions } from './support/recording.ts';
import { type Server, startUpstream } from './support/servers.ts';
import { freePort, processes, temporaryFolder, until } from './support/system.ts';

const skip = lacking('gcc');
const isRoot = process.getuid?.() === 0;

const upstreamOf = (t: TestContext): ReturnType<typeof startUpstream> =>
  startUpstream(t, ({ url }) => ({ body: `answer to ${url}` }));

/** A request of its own connection; the body of the response. */
async function get(port: number, path: string): Promise<string> {
  const client = await Client.connect(port);
  const { response } = await client.http('GET', path);
  client.close();
  return parts(response).body;
}

const line = (text: string): string => text.split('\r\n')[0] ?? '';

/** Of each session: its request, and what it asked. Fails where anything is ambiguous or missing. */
function summaries(sessions: Session[]): [string, string[]][] {
  return sessions.map((session) => {
    assert.equal(session.incomplete, false, session.request);
    assert.ok(
      session.calls.every(({ Ambiguous }) => !Ambiguous),
      session.request,
    );
    return [line(session.request), session.calls.map(({ Request }) => line(Request))];
  });
}

/** What a request for `path` is to be recorded as. */
const expected = (path: string): [string, string[]] => [`GET ${path} HTTP/1.1`, [`GET ${path} HTTP/1.1`]];

async function bootCalls(folder: string): Promise<number> {
  const boots = (await readRaw(folder)).filter(({ Context }) => Context === 'boot');
  return boots.flatMap(({ Actions }) => (Actions ?? []) as unknown[]).length;
}

interface Recorded {
  folder: string;
  port: number;
  upstream: Server;
}

/** Records `processes serve`, as `use` uses it. */
async function recorded(t: TestContext, use: (port: number) => Promise<void>): Promise<Recorded> {
  const upstream = await upstreamOf(t);
  const [port, folder] = [await freePort(), join(await temporaryFolder(t), 'recording')];
  const program = [compiled('processes'), 'serve', String(port), String(upstream.port)];
  const recording = await record(t, { to: folder, program, port });
  await use(port);
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  return { folder, port, upstream };
}

for (const [way, what] of [
  ['fork', 'a child answers what its parent has read'],
  ['exec', 'so does a program that the child executes, on its standard output'],
  ['popen', 'popen, of a program that has cleared its environment'],
  ['system', 'system, of the same'],
  ['spawn', 'posix_spawn with an empty environment'],
  ['vfork', 'vfork and exec with an empty environment'],
  ['plain', 'fork and exec with an empty environment'],
  ['clone', 'clone and execve by their numbers'],
  ['clone3', 'clone3 and execveat by their numbers'],
] as const) {
  test(`processes within a request: ${what}`, { skip }, async (t) => {
    const paths = [1, 2, 3].map((number) => `/${way}/${number}`);
    const { folder } = await recorded(t, async (port) => {
      for (const path of paths) assert.equal(await get(port, path), `answer to ${path}`);
    });
    assert.deepEqual(summaries(await requestSessions(folder)), paths.map(expected));
    assert.equal(await bootCalls(folder), 0);
  });
}

test('what a request has started and is answered without', { skip }, async (t) => {
  const { folder } = await recorded(t, async (port) => {
    assert.equal(await get(port, '/late/1'), 'later');
    assert.equal(await get(port, '/fork/2'), 'answer to /fork/2');
  });
  const sessions = await requestSessions(folder);
  assert.deepEqual(summaries(sessions).toSorted(), [expected('/fork/2'), expected('/late/1')]);
});

test('many children at once', { skip }, async (t) => {
  const paths = Array.from({ length: 40 }, (_, number) => `/fork/${number}`);
  const { folder } = await recorded(t, async (port) => {
    const bodies = await Promise.all(paths.map((path) => get(port, path)));
    assert.deepEqual(
      bodies,
      paths.map((path) => `answer to ${path}`),
    );
  });
  const summary = summaries(await requestSessions(folder)).toSorted();
  assert.deepEqual(summary, paths.map(expected).toSorted());
});

for (const way of ['unread', 'read']) {
  test(
    `connections that a master hands to its workers by messages, ${way}`,
    { skip: lacking('python3') },
    async (t) => {
      const upstream = await upstreamOf(t);
      const [port, folder] = [await freePort(), join(await temporaryFolder(t), 'recording')];
      const program = [
        '/usr/bin/python3',
        programFile('handing.py'),
        String(port),
        String(upstream.port),
        way,
      ];
      const recording = await record(t, { to: folder, program, port });
      const paths = Array.from({ length: 20 }, (_, number) => `/${number}`);
      for (const path of paths.slice(0, 4)) assert.equal(await get(port, path), `answer to ${path}`);
      const bodies = await Promise.all(paths.slice(4).map((path) => get(port, path)));
      assert.deepEqual(
        bodies,
        paths.slice(4).map((path) => `answer to ${path}`),
      );
      const { code, stderr } = await stop(recording);
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /GAPS/);
      const sessions = await requestSessions(folder);
      assert.deepEqual(summaries(sessions).toSorted(), paths.map(expected).toSorted());
      assert.equal(await bootCalls(folder), 0);
    },
  );
}

// The second has had nothing to tell yet when its maker has ended.
for (const kind of ['daemon', 'late-daemon']) {
  test(`a ${kind} is recorded until it ends`, { skip }, async (t) => {
    const upstream = await upstreamOf(t);
    const [port, to] = [await freePort(), join(await temporaryFolder(t), 'recording')];
    const program = [compiled('processes'), kind, String(port), String(upstream.port)];
    const daemons = (): ReturnType<typeof processes> =>
      processes((command) => command[1] === kind && command[2] === String(port));
    t.after(async () => {
      for (const { pid } of [...(await daemons()), ...(await agents(to))]) process.kill(pid, 'SIGKILL');
    });
    const { code, stderr } = await koala(t, ['record', '--to', to, '--', ...program]);
    assert.equal(code, 0, stderr);
    assert.equal(await get(port, '/fork/1'), 'answer to /fork/1');
    const [daemon] = await daemons();
    assert.ok(daemon, 'the daemon lives');
    process.kill(daemon.pid, 'SIGTERM');
    await until('the end of the agent', async () => (await agents(to)).length === 0);
    assert.deepEqual(summaries(await requestSessions(to)), [expected('/fork/1')]);
  });
}

test('children of a request that Node serves', { skip: lacking('curl') }, async (t) => {
  const upstream = await upstreamOf(t);
  const folder = await temporaryFolder(t);
  const [port, to] = [await freePort(), join(folder, 'recording')];
  const script = join(folder, 'server.mjs');
  writeFileSync(
    script,
    `import { exec, execFile } from 'node:child_process';
       import { createServer } from 'node:http';
       const url = 'http://127.0.0.1:${upstream.port}';
       const server = createServer(({ url: path }, response) => {
         const done = (error, output) => response.end(error ? String(error) : output);
         if (path.startsWith('/shell')) exec(\`curl -s \${url}\${path} | cat\`, done);
         else execFile('curl', ['-s', url + path], { env: {} , shell: '/bin/sh' }, done);
       }).listen(${port}, '127.0.0.1');
       process.on('SIGTERM', () => server.close());`,
  );
  const recording = await record(t, { to, program: [process.execPath, script], port });
  const paths = ['/shell/1', '/file/2', '/shell/3'];
  for (const path of paths) assert.equal(await get(port, path), `answer to ${path}`);
  await stop(recording);
  assert.deepEqual(summaries(await requestSessions(to)), paths.map(expected));
});

test(
  'a program that gets privileges by its file is told of',
  { skip: lacking('python3') || (isRoot ? false : 'needs root, to become another user') },
  async (t) => {
    const upstream = await upstreamOf(t);
    const folder = await temporaryFolder(t);
    const script =
      `import socket, subprocess\ns = socket.create_connection(("127.0.0.1", ${upstream.port}))\n` +
      's.sendall(b"GET /1 HTTP/1.0\\r\\n\\r\\n")\ns.recv(1)\nsubprocess.run(["/bin/su", "--version"])\n';
    const nobody = [commandPath('setpriv'), '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    const program = [...nobody, '/usr/bin/python3', '-c', script];
    const { code, stderr } = await koala(t, ['record', '--to', join(folder, 'recording'), '--', ...program]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /NOT COVERED: \/bin\/su: it gets privileges by its file/);
    assert.deepEqual((await readManifest(join(folder, 'recording')))['NotCovered'], [
      {
        Program: '/bin/su',
        Reason: 'it gets privileges by its file, and the system lets no library into it',
      },
    ]);
    assert.equal(await bootCalls(join(folder, 'recording')), 1);
  },
);

/** nginx and php-fpm as one program: a shell that ends both. */
async function site(
  t: TestContext,
  { over, manager, clearEnv }: { over: 'tcp' | 'unix'; manager: 'static' | 'ondemand'; clearEnv: boolean },
): Promise<{ port: number; folder: string; program: string[] }> {
  const upstream = await upstreamOf(t);
  const folder = await temporaryFolder(t);
  chmodSync(folder, 0o755);
  const [port, fpmPort] = [await freePort(), await freePort()];
  const listen = over === 'tcp' ? `127.0.0.1:${fpmPort}` : join(folder, 'fpm.sock');
  const script = join(folder, 'app.php');
  writeFileSync(
    script,
    `<?php $body = file_get_contents('http://127.0.0.1:${upstream.port}' . $_SERVER['REQUEST_URI']);
     header('Content-Length: ' . strlen($body)); echo $body;`,
  );
  writeFileSync(
    join(folder, 'fpm.conf'),
    `[global]\nerror_log = ${folder}/fpm.log\ndaemonize = no\n[www]\nlisten = ${listen}\nlisten.mode = 0666\n` +
      `${isRoot ? 'user = www-data\n' : ''}pm = ${manager}\npm.max_children = 3\n` +
      `pm.process_idle_timeout = 1s\nclear_env = ${clearEnv ? 'yes' : 'no'}\n`,
  );
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off;\npid ${folder}/nginx.pid;\nerror_log ${folder}/nginx.log;\n` +
      `${isRoot ? 'user www-data;\n' : ''}worker_processes 2;\nevents {}\nhttp {\naccess_log off;\n` +
      ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map((name) => `${name}_temp_path ${folder}/${name};\n`)
        .join('') +
      `server {\nlisten 127.0.0.1:${port};\nlocation / {\nfastcgi_pass ${over === 'unix' ? 'unix:' : ''}${listen};\n` +
      `fastcgi_param SCRIPT_FILENAME ${script};\nfastcgi_param REQUEST_URI $request_uri;\n` +
      `fastcgi_param REQUEST_METHOD $request_method;\n}\n}\n}\n`,
  );
  const version = readdirSync('/etc/php').toSorted().at(-1);
  const both =
    `"${commandPath(`php-fpm${version}`)}" -n -y "${folder}/fpm.conf" & fpm=$!; ` +
    `"${commandPath('nginx')}" -c "${folder}/nginx.conf" -p "${folder}" & nginx=$!; ` +
    'trap "kill -TERM $fpm $nginx; wait; exit 0" TERM; wait';
  const program = ['/bin/sh', '-c', both];
  return { port, folder, program };
}

for (const over of ['tcp', 'unix'] as const) {
  for (const [manager, clearEnv] of [
    ['static', true],
    ['ondemand', false],
  ] as const) {
    const name = `nginx with php-fpm over ${over}: one session, ${manager}, clear_env ${clearEnv ? 'on' : 'off'}`;
    test(name, { skip: lacking('nginx', 'php-fpm') }, async (t) => {
      const { port, folder, program } = await site(t, { over, manager, clearEnv });
      const to = join(folder, 'recording');
      const recording = await record(t, { to, program, port });
      const paths = Array.from({ length: 12 }, (_, number) => `/page/${number}`);
      await until('php-fpm', async () => (await get(port, '/ready')) === 'answer to /ready');
      for (const path of paths.slice(0, 4)) assert.equal(await get(port, path), `answer to ${path}`);
      const together = await Promise.all(paths.slice(4).map((path) => get(port, path)));
      assert.deepEqual(
        together,
        paths.slice(4).map((path) => `answer to ${path}`),
      );
      await stop(recording);
      const sessions = (await requestSessions(to)).filter(({ request }) => request.startsWith('GET /page'));
      assert.equal(
        (await requestSessions(to)).every(({ request }) => request.startsWith('GET /')),
        true,
      );
      assert.deepEqual(
        sessions.map(({ request }) => line(request)).toSorted(),
        paths.map((path) => `GET ${path} HTTP/1.1`).toSorted(),
      );
      for (const { request, calls } of sessions) {
        const path = request.split(' ')[1] ?? '';
        // What nginx asks of php-fpm, and what php-fpm asks for it.
        assert.equal(calls.length, 2, request);
        assert.ok(
          calls.some(({ Request }) => Request.includes(`REQUEST_URI${path}`)),
          request,
        );
        assert.ok(
          calls.some(({ Request }) => line(Request).startsWith(`GET ${path} HTTP/1`)),
          request,
        );
      }
    });
  }
}

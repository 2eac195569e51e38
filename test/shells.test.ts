// Threads that run commands at the same time, each for a request of its own: what a command does is in the session of its
// request.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from './support/client.ts';
import { koala, record, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { type Raw, readManifest, readRaw, requestSessions } from './support/recording.ts';
import { startUpstream } from './support/servers.ts';
import { freePort, temporaryFolder, until } from './support/system.ts';

const server = `
import os, sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        # system(3), once as the command itself, once as a child of the shell.
        os.system(f"exec {sys.argv[2]} ask {sys.argv[3]} {self.path}/a > /dev/null")
        os.system(f"{sys.argv[2]} ask {sys.argv[3]} {self.path}/b > /dev/null; true")
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`;

test('commands that threads run at the same time', { skip: lacking('python3', 'gcc') }, async (t) => {
  const folder = await temporaryFolder(t);
  const upstream = await startUpstream(t, ({ url }) => ({ body: `answer to ${url}` }));
  const [port, to, script] = [await freePort(), join(folder, 'recording'), join(folder, 'server.py')];
  await writeFile(script, server);
  const program = ['/usr/bin/python3', script, String(port), compiled('processes'), String(upstream.port)];
  const recording = await record(t, { to, program, port });
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.connect(port)));
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(clients.map((client, at) => client.http('GET', `/${at}-${round}`)));
  }
  for (const client of clients) client.close();
  await stop(recording);
  const line = (text: string): string => text.split('\r\n')[0] ?? '';
  const sessions = (await requestSessions(to)).map(({ request, calls }) => [
    line(request),
    calls.map(({ Request, Ambiguous }) => (Ambiguous ? `perhaps ${line(Request)}` : line(Request))),
  ]);
  const expected = [...clients.keys()].flatMap((at) =>
    Array.from({ length: 5 }, (_, round) => {
      const path = `GET /${at}-${round}`;
      return [`${path} HTTP/1.1`, [`${path}/a HTTP/1.1`, `${path}/b HTTP/1.1`]];
    }),
  );
  assert.deepEqual(sessions.toSorted(), expected.toSorted());
});

/** What a recording says of what its program has sent by itself: the bytes, and how many connections have gaps. */
async function sent(to: string): Promise<{ content: string[]; gaps: number; told: unknown }> {
  const sessions = await readRaw(to);
  const all = (name: string): Raw[] => sessions.flatMap((session) => (session[name] ?? []) as Raw[]);
  const content = all('Actions').map(({ Content, Request }) =>
    Buffer.from((Content ?? Request ?? []) as Uint8Array).toString(),
  );
  const gaps = all('Connections').filter(({ Gap }) => Gap === true).length;
  return { content, gaps, told: (await readManifest(to))['Gaps'] };
}

const marked = { content: [''], gaps: 1, told: 1 };

for (const [how, command, expected] of [
  ["by libc's standard output", 'echo said > $TO', marked],
  ["by a child's", '/bin/echo said > $TO; true', marked],
  ['by write(2)', 'printf said > $FILE; cat $FILE > $TO; true', { content: ['said'], gaps: 0, told: 0 }],
  ['elsewhere', 'exec 3> $TO; echo not said > /dev/null', { content: [], gaps: 0, told: 0 }],
] as const) {
  test(`what bash writes to /dev/udp ${how}`, { skip: lacking() }, async (t) => {
    const folder = await temporaryFolder(t);
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    t.after(() => socket.close());
    const heard: string[] = [];
    socket.on('message', (message) => heard.push(message.toString().trim()));
    await once(socket, 'listening');
    const [to, file] = [join(folder, 'recording'), join(folder, 'file')];
    const script = command
      .replaceAll('$TO', `/dev/udp/127.0.0.1/${socket.address().port}`)
      .replaceAll('$FILE', file);
    const { code } = await koala(t, ['record', '--to', to, '--', 'bash', '-c', script]);
    assert.equal(code, 0);
    if (how !== 'elsewhere') await until('the datagram', () => heard.length > 0);
    assert.deepEqual(heard, how === 'elsewhere' ? [] : ['said']);
    assert.deepEqual(await sent(to), expected);
  });
}

/** Connects to a unix socket, and runs a command with that as its standard output. */
const toUnix = `
import socket, subprocess, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    sys.exit(subprocess.call(sys.argv[2:], stdout=connection))
`;

for (const [name, gaps] of [
  ['/bin/echo', 1],
  ['/bin/dash', 0],
] as const) {
  test(`what ${name} writes to a unix socket`, { skip: lacking('python3') }, async (t) => {
    const folder = await temporaryFolder(t);
    let heard = '';
    const listener = createServer((socket) => {
      socket.on('data', (data) => (heard += data.toString()));
    });
    const path = join(folder, 'socket');
    listener.listen(path);
    await once(listener, 'listening');
    t.after(() => listener.close());
    const to = join(folder, 'recording');
    const command = name === '/bin/echo' ? [name, 'said'] : [name, '-c', 'echo said'];
    const { code } = await koala(t, ['record', '--to', to, '--', 'python3', '-c', toUnix, path, ...command]);
    assert.equal(code, 0);
    await until('the bytes', () => heard !== '');
    const recorded = await sent(to);
    assert.deepEqual([heard, recorded.told], ['said\n', gaps]);
    assert.equal(recorded.content.join(''), gaps === 0 ? heard : '');
  });
}

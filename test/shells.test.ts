// Threads that run commands at the same time, each for a request of its own: what a command does is in the session of its
// request.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client } from './support/client.ts';
import { record, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { startUpstream } from './support/servers.ts';
import { freePort, temporaryFolder } from './support/system.ts';

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

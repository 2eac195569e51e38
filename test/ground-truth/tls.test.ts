// TLS and HTTP/2: bytes that koala can record, but not read.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { commandPath } from '../support/needs.ts';
import type { Raw } from '../support/recording.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { concurrency } from './load.ts';
import { fill, programText } from './programs.ts';
import { type Outcome, Traced, assertTrue, lackingAny } from './traced.ts';

const run = promisify(execFile);

/** An HTTPS server with a certificate of its own, which is in `folder`. */
async function startSecure(t: TestContext, folder: string): Promise<number> {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const subject = ['-subj', '/CN=localhost', '-days', '2'];
  execFileSync(
    commandPath('openssl'),
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, ...subject],
    { stdio: 'ignore' },
  );
  const server = createServer(
    { key: readFileSync(key), cert: readFileSync(certificate) },
    (asked, answer) => {
      asked.resume();
      answer.end(`${asked.url} `.repeat(4000));
    },
  );
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return port;
}

/** How many connections of this direction the recording calls encrypted. */
function encrypted({ sessions }: Outcome, direction: string): number {
  const connections = sessions.flatMap((session) => (session['Connections'] ?? []) as Raw[]);
  const found = connections.filter((one) => one['Encrypted'] === true && one['Direction'] === direction);
  return new Set(found.map((one) => String(one['ConnectionId']))).size;
}

test('nginx with TLS and HTTP/2', { skip: lackingAny('nginx', 'curl', 'openssl') }, async (t) => {
  const folder = await temporaryFolder(t);
  chmodSync(folder, 0o755);
  const [upstream, port, plain] = [await startSecure(t, folder), await freePort(), await freePort()];
  const user = process.getuid?.() === 0 ? 'user www-data;' : '';
  const ports = { port: String(port), plain: String(plain), upstream: String(upstream) };
  const config = join(folder, 'nginx.conf');
  writeFileSync(config, fill(programText('tls.conf'), { ...ports, folder, user }));
  const program = await Traced.start(t, [commandPath('nginx'), '-c', config, '-p', folder], { port });
  const each = Array.from({ length: concurrency }, (_, number) => number);
  await Promise.all(
    [
      ['--http1.1', `https://localhost:${port}`],
      ['--http2', `https://localhost:${port}`],
      ['--http2-prior-knowledge', `http://localhost:${plain}`],
    ].map(async ([version = '', base = '']) => {
      const transfers = each.flatMap((number) => ['-o', '/dev/null', `${base}/${number}`]);
      await run(commandPath('curl'), ['-sSfk4', version, '--parallel', '--parallel-immediate', ...transfers]);
    }),
  );
  const outcome = await program.stop('SIGQUIT');
  assertTrue(outcome, { inbound: 3, outbound: 3 * concurrency, bytes: 1_200_000 });
  assert.ok(encrypted(outcome, 'outbound') >= 3 * concurrency);
});

test(
  'clients that speak TLS: curl, Python and Node',
  { skip: lackingAny('curl', 'python3', 'requests', 'openssl') },
  async (t) => {
    const folder = await temporaryFolder(t);
    const url = `https://localhost:${await startSecure(t, folder)}`;
    const certificate = join(folder, 'certificate.pem');
    const python = `import requests; print(len(requests.get("${url}/python", verify="${certificate}").text))`;
    const node = `require("https").get("${url}/node", (answer) => answer.resume())`;
    const command = [
      `curl -sSf4 --cacert ${certificate} ${url}/curl/1 ${url}/curl/2 | wc -c`,
      `/usr/bin/python3 -c '${python}'`,
      `NODE_EXTRA_CA_CERTS=${certificate} ${process.execPath} -e '${node}'`,
    ].join(' && ');
    const program = await Traced.start(t, ['/bin/sh', '-c', command]);
    const outcome = await program.end();
    assert.equal(outcome.ended.code, 0, outcome.ended.stderr);
    assertTrue(outcome, { outbound: 3, bytes: 120_000 });
    assert.equal(encrypted(outcome, 'outbound'), 3);
  },
);

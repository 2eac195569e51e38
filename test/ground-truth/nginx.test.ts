// nginx: two workers that drop privileges, files from the kernel to the kernel, a proxy.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { test } from 'node:test';
import { commandPath } from '../support/needs.ts';
import { startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { assertSessions, load } from './load.ts';
import { fill, programText } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('nginx');
const sizes = { 'small.txt': 20, 'medium.txt': 70_000, 'large.txt': 900_000 };

/** A request on one connection of its own that the server closes; what came back. */
async function ask(to: { path: string } | { host: string; port: number }, path: string): Promise<string> {
  const socket = connect(to);
  await once(socket, 'connect');
  socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
  const chunks: Buffer[] = await socket.toArray();
  return Buffer.concat(chunks).toString('latin1');
}

test('nginx: files, a proxy, large bodies, on TCP, IPv6 and a unix socket', { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  // The workers are another user than the one that made it.
  chmodSync(folder, 0o755);
  const upstream = await startUpstream(t, ({ url }) => ({
    body: url?.startsWith('/once/large') ? `${url}\n`.repeat(20_000) : `this is ${url}`,
  }));
  const files = join(folder, 'files');
  mkdirSync(files);
  for (const [name, size] of Object.entries(sizes)) {
    writeFileSync(
      join(files, name),
      Array.from({ length: size / 10 }, (_, line) => `${line}`.padEnd(9) + '\n').join(''),
    );
  }
  const port = await freePort();
  const config = join(folder, 'nginx.conf');
  const user = process.getuid?.() === 0 ? 'user www-data;' : '';
  const values = { user, folder, port: String(port), upstream: String(upstream.port) };
  writeFileSync(config, fill(programText('nginx.conf'), values));
  const program = await Traced.start(t, [commandPath('nginx'), '-c', config, '-p', folder], { port });

  const exchanges = await load(port, 12, (client, round) => {
    switch (round % 6) {
      case 0:
        return { path: '/files/small.txt' };
      case 1:
        return { path: `/kept/${client}/${round}` };
      case 2:
        return { path: '/files/medium.txt' };
      case 3:
        return { method: 'POST', path: `/once/${client}`, body: `${client}`.repeat(40_000) };
      case 4:
        return client % 4 === 0 ? { path: `/once/large/${client}` } : { path: `/once/${client}/${round}` };
      default:
        return client % 4 === 0 ? { path: '/files/large.txt' } : { path: '/files/small.txt' };
    }
  });
  for (const [to, path] of [
    [{ host: '::1', port }, '/kept/six'],
    [{ path: join(folder, 'nginx.sock') }, '/files/small.txt'],
  ] as const) {
    exchanges.push({ request: `GET ${path} HTTP/1.0\r\n\r\n`, response: await ask(to, path) });
  }
  const outcome = await program.stop('SIGQUIT');
  assertTrue(outcome, { inbound: 80, outbound: 60, bytes: 10_000_000 });
  assertSessions(outcome.sessions, exchanges);
});

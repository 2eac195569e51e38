// Servers and relays other than nginx: each uses sockets, processes and the kernel's shortcuts in its own way.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { commandPath } from '../support/needs.ts';
import { startUpstream } from '../support/servers.ts';
import { freePort, temporaryFolder } from '../support/system.ts';
import { type Request, assertSessions, load } from './load.ts';
import { fill, programText } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const sizes = { 'small.txt': 20, 'medium.txt': 70_000, 'large.txt': 900_000 };

interface Site {
  port: number;
  upstream: number;
  /** A configuration of this name in `programs`, filled in for a server of this kind. */
  configured(name: string, kind?: string): string;
}

/** Files to serve, and a server to ask. */
async function site(t: TestContext): Promise<Site> {
  const folder = await temporaryFolder(t);
  // The workers may be another user than the one that made it.
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'files'));
  for (const [name, size] of Object.entries(sizes)) {
    const lines = Array.from({ length: size / 10 }, (_, line) => `${`${line}`.padEnd(9)}\n`);
    writeFileSync(join(folder, 'files', name), lines.join(''));
  }
  const { port: upstream } = await startUpstream(t, ({ url }) => ({
    body: url?.includes('large') === true ? `${url}\n`.repeat(20_000) : `this is ${url}`,
  }));
  const port = await freePort();
  const configured = (name: string, kind = ''): string => {
    const user = process.getuid?.() === 0 ? 'User www-data\nGroup www-data' : '';
    const modules = '/usr/lib/apache2/modules';
    const values = { folder, port: String(port), upstream: String(upstream), kind, user, modules };
    writeFileSync(join(folder, name), fill(programText(name), values));
    return join(folder, name);
  };
  return { port, upstream, configured };
}

const proxied = (client: number, round: number): Request => {
  if (round % 3 === 0) return { path: `/kept/large/${client}` };
  if (round % 3 === 1) return { method: 'POST', path: `/kept/${client}`, body: `${client}`.repeat(40_000) };
  return { path: `/kept/${client}/${round}` };
};

const served = (client: number, round: number): Request => {
  if (round % 2 === 0) return proxied(client, round);
  return { path: `/files/${Object.keys(sizes)[(round >> 1) % 3] ?? ''}` };
};

/** Loads a server, ends it, and compares. */
async function assertServes(
  t: TestContext,
  { port }: Site,
  command: string[],
  rounds: number,
  request: (client: number, round: number) => Request,
): Promise<void> {
  const program = await Traced.start(t, command, { port });
  const exchanges = await load(port, rounds, request);
  const outcome = await program.stop();
  assertTrue(outcome, { inbound: 16, outbound: 2, bytes: 10_000_000 });
  assertSessions(outcome.sessions, exchanges);
}

for (const kind of ['prefork', 'worker', 'event']) {
  test(`apache, ${kind}: files and a proxy`, { skip: lackingAny('apache2') }, async (t) => {
    const all = await site(t);
    const command = [commandPath('apache2'), '-DFOREGROUND', '-f', all.configured('apache.conf', kind)];
    await assertServes(t, all, command, 6, served);
  });
}

test(
  'lighttpd: files, a proxy, and its wait for the end of each client',
  { skip: lackingAny('lighttpd') },
  async (t) => {
    const all = await site(t);
    await assertServes(
      t,
      all,
      [commandPath('lighttpd'), '-D', '-f', all.configured('lighttpd.conf')],
      6,
      served,
    );
  },
);

for (const kind of ['http', 'tcp']) {
  test(`haproxy, ${kind}: two threads that splice`, { skip: lackingAny('haproxy') }, async (t) => {
    const all = await site(t);
    await assertServes(
      t,
      all,
      [commandPath('haproxy'), '-W', '-f', all.configured('haproxy.conf', kind)],
      6,
      proxied,
    );
  });
}

const relays = {
  'a process for each connection': (port: number) => `TCP:127.0.0.1:${port}`,
  'a program that gets each connection': (port: number) =>
    `EXEC:${commandPath('socat')} - TCP\\:127.0.0.1\\:${port},nofork`,
  'a program behind pipes': (port: number) =>
    `EXEC:${commandPath('socat')} - TCP\\:127.0.0.1\\:${port},pipes`,
};

for (const [what, to] of Object.entries(relays)) {
  test(`socat: ${what}`, { skip: lackingAny('socat') }, async (t) => {
    const all = await site(t);
    const listens = `TCP-LISTEN:${all.port},bind=127.0.0.1,fork,reuseaddr`;
    await assertServes(t, all, [commandPath('socat'), listens, to(all.upstream)], 3, proxied);
  });
}

test(
  "a shell's own writes to a socket that its children read are told as gaps",
  { skip: lackingAny() },
  async (t) => {
    const { upstream } = await site(t);
    const script = `
    for number in 1 2 3; do
      exec 3<>/dev/tcp/127.0.0.1/${upstream}
      printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' $number >&3
      cat <&3
      exec 3>&-
    done`;
    const program = await Traced.start(t, ['/bin/bash', '-c', script]);
    const { ended, verdict } = await program.end();
    assert.equal(ended.stdout.match(/this is/g)?.length, 3, ended.stderr);
    assert.deepEqual(verdict.problems, []);
    assert.equal(verdict.gaps.length, 3);
  },
);

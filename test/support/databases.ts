// Real database servers of a test's own: MariaDB and PostgreSQL, each in a folder that is removed with the test.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { commandPath } from './needs.ts';
import type { Server } from './servers.ts';
import { Running, freePort, temporaryFolder } from './system.ts';

/** A database server, its one account and where it listens besides. */
export interface Database extends Server {
  user: string;
  password: string;
  database: string;
  /** The path of its unix socket. */
  socket: string;
}

const account = { user: 'koala', password: 'eucalyptus', database: 'grove' };

/** Who may run a server that refuses to run as root: a user of the system, and its group. */
function unprivileged(name: string): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  assert.ok(line, `the system has no user ${name}`);
  const [uid, gid] = line.split(':').slice(2, 4).map(Number);
  return { uid: uid ?? 0, gid: gid ?? 0 };
}

/** How long a server may take to end by itself, in milliseconds. */
const PATIENCE = 20_000;

/**
 * A folder for a server that goes on writing there: it is ended before the folder is removed. `politely`: by a signal
 * that lets it remove what it has elsewhere, as PostgreSQL's shared memory.
 */
async function home(
  t: TestContext,
  politely?: NodeJS.Signals,
): Promise<{ folder: string; run: (server: Running) => Server['stop'] }> {
  let server: Running | undefined;
  const stop = async (): Promise<void> => {
    if (politely !== undefined) server?.child.kill(politely);
    const ended = politely !== undefined && (await server?.end(PATIENCE).catch(() => undefined));
    if (!ended) server?.signalGroup('SIGKILL');
    await server?.ended;
  };
  t.after(stop);
  const folder = await temporaryFolder(t);
  return {
    folder,
    run: (running) => {
      server = running;
      return stop;
    },
  };
}

/** A MariaDB server; `statements` are run before it listens. */
export async function startMariaDb(t: TestContext, statements: string[] = []): Promise<Database> {
  const port = await freePort();
  const { folder, run } = await home(t);
  // Any user may connect by the socket.
  chmodSync(folder, 0o755);
  const [data, socket, start] = [
    join(folder, 'data'),
    join(folder, 'mariadb.sock'),
    join(folder, 'start.sql'),
  ];
  const own = ['--no-defaults', `--datadir=${data}`, ...(process.getuid?.() === 0 ? ['--user=root'] : [])];
  execFileSync(
    commandPath('mariadb-install-db'),
    [...own, '--skip-test-db', '--auth-root-authentication-method=normal'],
    { stdio: 'ignore' },
  );
  const lines = [
    `CREATE DATABASE ${account.database}`,
    `CREATE USER '${account.user}'@'%' IDENTIFIED BY '${account.password}'`,
    `GRANT ALL ON ${account.database}.* TO '${account.user}'@'%'`,
    `USE ${account.database}`,
    ...statements,
  ];
  writeFileSync(start, lines.map((line) => `${line};\n`).join(''));
  const listener = [`--port=${port}`, '--bind-address=127.0.0.1', `--socket=${socket}`];
  const options = ['--skip-name-resolve', '--innodb-flush-log-at-trx-commit=0', `--init-file=${start}`];
  const server = new Running(t, commandPath('mariadbd'), [...own, ...listener, ...options]);
  const stop = run(server);
  await server.listening(port);
  return { ...account, port, socket, stop };
}

/** The folder of PostgreSQL's programs: Debian keeps them by version. */
function postgresPrograms(): string {
  const versions = '/usr/lib/postgresql';
  const newest = readdirSync(versions).toSorted((a, b) => Number(b) - Number(a))[0];
  assert.ok(newest, `${versions} is empty`);
  return join(versions, newest, 'bin');
}

/** A key and a certificate of a server, in files. */
export function makeCertificate(folder: string): { key: string; certificate: string } {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync(
    commandPath('openssl'),
    [...made, '-keyout', key, '-out', certificate, '-days', '2', '-subj', '/CN=localhost'],
    { stdio: 'ignore' },
  );
  chmodSync(key, 0o600);
  return { key, certificate };
}

/** The settings of PostgreSQL with a certificate of its own. */
function encrypting(folder: string, owner?: { uid: number; gid: number }): Record<string, string> {
  const { key, certificate } = makeCertificate(folder);
  if (owner) for (const file of [key, certificate]) chownSync(file, owner.uid, owner.gid);
  return { ssl: 'on', ssl_cert_file: certificate, ssl_key_file: key };
}

/** A PostgreSQL server, which asks for a password by SCRAM; `statements` are run before it is used. */
export async function startPostgres(
  t: TestContext,
  statements: string[] = [],
  { tls = false }: { tls?: boolean } = {},
): Promise<Database> {
  const port = await freePort();
  const { folder, run } = await home(t, 'SIGINT');
  const programs = postgresPrograms();
  const identity = unprivileged('postgres');
  if (identity) chownSync(folder, identity.uid, identity.gid);
  const password = join(folder, 'password');
  writeFileSync(password, account.password);
  if (identity) chownSync(password, identity.uid, identity.gid);
  const data = join(folder, 'data');
  const options = { ...identity, stdio: 'ignore' as const, cwd: folder };
  execFileSync(
    join(programs, 'initdb'),
    [
      '-D',
      data,
      '-U',
      account.user,
      `--pwfile=${password}`,
      '-A',
      'scram-sha-256',
      '--no-sync',
      '-E',
      'UTF8',
    ],
    options,
  );
  // Its single-user mode: what it reads there is done before anybody can connect.
  execFileSync(join(programs, 'postgres'), ['--single', '-j', '-D', data, 'postgres'], {
    ...options,
    stdio: ['pipe', 'ignore', 'ignore'],
    input: `CREATE DATABASE ${account.database};\n\n`,
  });
  if (statements.length > 0) {
    execFileSync(join(programs, 'postgres'), ['--single', '-j', '-D', data, account.database], {
      ...options,
      stdio: ['pipe', 'ignore', 'ignore'],
      input: statements.map((statement) => `${statement};\n\n`).join(''),
    });
  }
  const certificate = tls ? encrypting(folder, identity) : {};
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    port,
    fsync: 'off',
    ...certificate,
  };
  const server = new Running(
    t,
    join(programs, 'postgres'),
    ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {},
    identity,
  );
  const stop = run(server);
  await server.listening(port);
  return { ...account, port, socket: join(folder, `.s.PGSQL.${port}`), stop };
}

// Programs that ask databases, recorded, and replayed with the databases stopped: all sessions, in another order, and
// each alone; and a changed question is found out.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, type Exchange, parts } from './support/client.ts';
import { startMariaDb, startPostgres } from './support/databases.ts';
import { koala, record, stop } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { requestSessions } from './support/recording.ts';
import { type Server, startRedis } from './support/servers.ts';
import { Running, freePort, temporaryFolder } from './support/system.ts';

const trees = (int: string, names = ['blue gum', 'manna gum', 'tallowwood', 'ghost gum']): string[] => [
  `CREATE TABLE trees (id ${int} PRIMARY KEY, name VARCHAR(50), height NUMERIC(6, 2), planted DATE)`,
  ...names.map(
    (name, index) =>
      `INSERT INTO trees VALUES (${index + 1}, '${name}', ${index + 20}.5, '2001-02-0${index + 3}')`,
  ),
  'CREATE TABLE shrubs AS SELECT * FROM trees',
];

const mariaDb = (t: TestContext): ReturnType<typeof startMariaDb> =>
  startMariaDb(t, [
    ...trees('INT'),
    'CREATE TABLE visits (id INT AUTO_INCREMENT PRIMARY KEY, tree INT, note VARCHAR(50))',
  ]);

const postgres = (t: TestContext): ReturnType<typeof startPostgres> =>
  startPostgres(t, [
    ...trees('INT'),
    'CREATE TABLE visits (id SERIAL PRIMARY KEY, tree INT, note VARCHAR(50))',
  ]);

/** A program with what it asks. */
interface Site {
  program: string[];
  /** Where it is asked. */
  port: number;
  servers: Server[];
}

interface Recorded {
  folder: string;
  program: string[];
  /** The ids of the sessions, by time. */
  ids: string[];
}

/** Records a program while it is asked for `paths`, each of which must be answered, and stops what it asks. */
async function recorded(t: TestContext, site: Site, paths: string[], front?: Front): Promise<Recorded> {
  const folder = join(await temporaryFolder(t), 'recording');
  const { program, port, servers } = site;
  const recording = await record(t, { to: folder, program, port });
  const client = await Client.connect(front === undefined ? port : await front.start());
  const exchanges: Exchange[] = [];
  for (const path of paths) exchanges.push(await client.http('GET', path));
  client.close();
  await front?.stop();
  for (const { request, response } of exchanges)
    assert.equal(parts(response).status, 200, request + response);
  const { code, stderr } = await stop(recording);
  assert.equal(code, 0, stderr);
  for (const server of servers) await server.stop();
  const sessions = await requestSessions(folder);
  assert.equal(sessions.length, paths.length);
  return { folder, program, ids: sessions.map(({ id }) => id) };
}

/** A server between the client and the program, which is no part of what is recorded. */
interface Front {
  start: () => Promise<number>;
  stop: () => Promise<void>;
}

/** Replays some sessions in this order, all of which must be green. */
async function isGreen(t: TestContext, { folder, program }: Recorded, ids: string[]): Promise<void> {
  const options = ids.flatMap((id) => ['--session', id]);
  const { code, stdout, stderr } = await koala(t, [
    'replay',
    folder,
    '--timeout',
    '10s',
    ...options,
    '--',
    ...program,
  ]);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.match(stdout, new RegExp(`${ids.length} passed`));
}

/** Replays a changed program: what it asks is not answered, and is named. */
async function isRed(
  t: TestContext,
  { folder, program }: Recorded,
  regression: string,
  named: RegExp[],
): Promise<void> {
  const { code, stdout, stderr } = await koala(t, ['replay', folder, '--timeout', '10s', '--', ...program], {
    REGRESSION: regression,
  });
  assert.equal(code, 1, `${stdout}${stderr}`);
  for (const name of named) assert.match(stdout, name);
}

/** A program that is told in its last argument whom it asks. */
async function told(command: string[], servers: Record<string, Server>): Promise<Site> {
  const port = await freePort();
  const program = [...command, JSON.stringify({ port, ...servers })];
  return { program, port, servers: Object.values(servers) };
}

const python = ['/usr/bin/python3', programFile('databases.py')];
const node = [process.execPath, programFile('databases.mjs')];
const drivers = { postgresql: 'postgresql', mariadb: 'mariadb-java-client' };
const isRoot = process.getuid?.() === 0;

/** php-fpm with a database, and an nginx that asks it. */
async function php(t: TestContext, listen: (folder: string) => string): Promise<PhpSite> {
  const folder = await temporaryFolder(t);
  // The workers are another user than the one that made it.
  chmodSync(folder, 0o755);
  const mysql = await mariaDb(t);
  const script = join(folder, 'databases.php');
  copyFileSync(programFile('databases.php'), script);
  chmodSync(script, 0o644);
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ mysql }));
  const port = await freePort();
  const at = listen(folder);
  const values: Record<string, string> = {
    folder,
    script,
    port: String(port),
    listen: at,
    pass: at.startsWith('/') ? `unix:${at}` : at,
  };
  const configuration = (name: string, user: string): string => {
    const file = join(folder, name);
    const text = readFileSync(programFile(name), 'utf8');
    writeFileSync(
      file,
      text.replaceAll(/@(\w+)@/g, (_, key: string) => (key === 'user' ? user : (values[key] ?? ''))),
    );
    return file;
  };
  const version = readdirSync('/etc/php').toSorted().at(-1);
  const extensions = ['mysqlnd', 'mysqli', 'pdo', 'pdo_mysql'].flatMap((name) => ['-d', `extension=${name}`]);
  const fpmFile = configuration('databases.fpm.conf', isRoot ? 'user = www-data' : '');
  const nginxFile = configuration('databases.nginx.conf', isRoot ? 'user www-data;' : '');
  return {
    port,
    mysql,
    fpm: [commandPath(`php-fpm${version}`), '-n', ...extensions, '-y', fpmFile],
    nginx: [commandPath('nginx'), '-c', nginxFile, '-p', folder],
    at,
  };
}

interface PhpSite {
  port: number;
  mysql: Server;
  fpm: string[];
  nginx: string[];
  at: string;
}

const phpNeeds = ['php-fpm', 'php-mysql', 'nginx', 'mariadb'];
const phpPaths = ['mysqli', 'kept', 'pdo', 'emulated'].flatMap((client) =>
  ['read/1', 'two/2', 'write/3', 'read/4'].map((path) => `/${client}/${path}`),
);

interface Case {
  name: string;
  needs: string[];
  site: (t: TestContext) => Promise<Site & { front?: Front }>;
  paths: string[];
  /** What names the changed question, by regression. */
  changed: Record<string, RegExp[]>;
}

const cases: Case[] = [
  {
    name: 'Node with a pool of pg',
    needs: ['postgresql'],
    site: async (t) => told(node, { postgres: await postgres(t) }),
    paths: ['value/1', 'named/1', 'value/2', 'named/2', 'write/1', 'none/1', 'named/3', 'write/2'].map(
      (path) => `/pg/${path}`,
    ),
    changed: {
      value: [/FROM trees WHERE id = \$1 \[2\]/, /where id: 1 -> 2/],
      table: [/FROM shrubs/, /table: trees -> shrubs/],
      database: [/no login of koala to the database other/, /database: grove -> other/],
    },
  },
  {
    name: 'Node with a pool of mysql2',
    needs: ['mariadb'],
    site: async (t) => told(node, { mysql: await mariaDb(t) }),
    paths: ['query/1', 'execute/1', 'query/2', 'execute/2', 'two/3', 'write/1', 'two/1', 'write/2'].map(
      (path) => `/mysql/${path}`,
    ),
    changed: {
      value: [/execute: SELECT .* FROM trees WHERE id = \?/, /where id: 1 -> 2/],
      table: [/FROM shrubs/],
      database: [/no login of koala to the database other/, /database: grove -> other/],
    },
  },
  {
    name: 'Python with psycopg2 and psycopg',
    needs: ['python3', 'psycopg2', 'psycopg', 'postgresql'],
    site: async (t) => told(python, { postgres: await postgres(t) }),
    paths: [
      '/postgres/read/1',
      '/pooled/read/1',
      '/psycopg/read/1',
      '/postgres/write/2',
      '/pooled/write/2',
      '/psycopg/write/2',
      '/pooled/read/3',
    ],
    changed: { value: [/where id: 1 -> 2/] },
  },
  {
    name: 'Python with PyMySQL',
    needs: ['python3', 'pymysql', 'mariadb'],
    site: async (t) => told(python, { mysql: await mariaDb(t) }),
    paths: ['/mysql/read/1', '/mysql/write/2', '/mysql/read/3'],
    changed: { value: [/where id: 1 -> 2/] },
  },
  {
    name: 'Python with redis',
    needs: ['python3', 'python3-redis', 'redis-server'],
    site: async (t) => told(python, { redis: await startRedis(t) }),
    paths: ['/redis/write/1', '/redis/read/1', '/redis/read/2', '/redis/write/3'],
    changed: { value: [/tree:2/] },
  },
  ...(['postgresql', 'mariadb'] as const).map((kind): Case => ({
    name: `Java with JDBC to ${kind}`,
    needs: ['java', 'jdbc', kind],
    site: async (t) => {
      const database = kind === 'mariadb' ? await mariaDb(t) : await postgres(t);
      const url = `jdbc:${kind}://127.0.0.1:${database.port}/${database.database}`;
      const port = await freePort();
      const settings = [port, url, database.user, database.password].join('\n');
      const program = [commandPath('java'), '-cp', `/usr/share/java/${drivers[kind]}.jar`];
      return { program: [...program, programFile('Databases.java'), settings], port, servers: [database] };
    },
    // From the sixth time on, the driver of PostgreSQL does not ask which columns the rows have, and wants numbers in
    // binary form. Alone, or in another order, the same is asked in the other way.
    paths: [
      'fresh/read/1',
      'kept/read/1',
      'fresh/write/2',
      'kept/write/2',
      ...[2, 3, 4, 1, 2, 3, 4].map((id) => `kept/read/${id}`),
    ].map((path) => `/${path}`),
    changed: { value: [/where id: 1 -> 2/] },
  })),
  {
    name: 'php-fpm behind nginx',
    needs: phpNeeds,
    site: async (t) => {
      const { port, mysql, fpm, nginx, at } = await php(t, (folder) => join(folder, 'fpm.sock'));
      return {
        program: ['/bin/sh', programFile('site.sh'), at, ...fpm, '--', ...nginx],
        port,
        servers: [mysql],
      };
    },
    paths: phpPaths,
    changed: { value: [/where id: 1 -> 2/], table: [/FROM shrubs/] },
  },
  {
    name: 'php-fpm, asked by FastCGI',
    needs: phpNeeds,
    site: async (t) => {
      const listener = await freePort();
      const { port, mysql, fpm, nginx } = await php(t, () => `127.0.0.1:${listener}`);
      let server: Running | undefined;
      const [command = '', ...args] = nginx;
      const front: Front = {
        start: async () => {
          server = new Running(t, command, args);
          await server.listening(port);
          return port;
        },
        stop: async () => {
          server?.signalGroup('SIGTERM');
          await server?.ended;
        },
      };
      return { program: fpm, port: listener, servers: [mysql], front };
    },
    paths: phpPaths,
    changed: { value: [/GET \/mysqli\/read\/1/, /where id: 1 -> 2/], table: [/FROM shrubs/] },
  },
];

for (const { name, needs, site, paths, changed } of cases) {
  const title = `${name}: green without its servers in any order, red when it asks for something else`;
  test(title, { skip: lacking(...needs) }, async (t) => {
    const program = await site(t);
    const recording = await recorded(t, program, paths, program.front);
    const { ids } = recording;
    await t.test('all', () => isGreen(t, recording, ids));
    await t.test('backwards', () => isGreen(t, recording, ids.toReversed()));
    for (const [at, id] of ids.entries())
      await t.test(`${paths[at]} alone`, () => isGreen(t, recording, [id]));
    for (const [regression, named] of Object.entries(changed)) {
      await t.test(`a changed ${regression}`, () => isRed(t, recording, regression, named));
    }
  });
}

test(
  'a database that is asked by TLS: recorded, and refused in a replay for that reason',
  { skip: lacking('python3', 'psycopg2', 'psycopg', 'postgresql', 'openssl') },
  async (t) => {
    const database = await startPostgres(t, trees('INT'), { tls: true });
    const site = await told(python, { postgres: Object.assign(database, { sslmode: 'require' }) });
    const recording = await recorded(t, site, ['/postgres/read/1']);
    await isRed(t, recording, '', [
      /encrypted: what is said to a server without a name by TLS can't be replayed/,
    ]);
  },
);

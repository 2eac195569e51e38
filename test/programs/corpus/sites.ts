// The programs, whom they ask, and what they do in each of two runs.
import { chmodSync, copyFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startMariaDb, startPostgres } from '../../support/databases.ts';
import { commandPath } from '../../support/needs.ts';
import { type Server, startRedis } from '../../support/servers.ts';
import { programFile } from '../../support/programs.ts';
import { Running, freePort, temporaryFolder } from '../../support/system.ts';

/** A program that runs, and how it ends. */
interface Started {
  program: string[];
  port: number;
  protocol: string;
  /** Starts what stands between the client and the program, and tells where it listens. */
  front?: () => Promise<number>;
  /** Ends whom the program asks. */
  stop: () => Promise<void>;
}

/** A program with its deeds, which are the paths that it is asked for. */
export interface Site {
  name: string;
  /** The name of the server's address in the corpus. */
  peer: string;
  /** What the first run does; no deed twice. */
  first: string[];
  /** What the second run does: the same deeds in another order, some left out, and others that the first never did. */
  second: string[];
  /** Requests that are the same call whichever deed makes them: the limits of transactions. */
  anyone?: (request: Buffer) => boolean;
  /** Requests that prepare a statement. */
  prepares?: (request: Buffer) => boolean;
  start: (t: TestContext, later: number) => Promise<Started>;
}

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** A program that is told whom it asks in its last argument. */
async function told(
  command: string[],
  protocol: string,
  later: number,
  server: Server,
  name: string = protocol,
): Promise<Started> {
  const port = await freePort();
  const program = [...command, JSON.stringify({ port, later, [name]: server })];
  return { program, port, protocol, stop: server.stop };
}

const python = ['/usr/bin/python3', file('shop.py')];

/** A memcached. */
async function startMemcached(t: TestContext): Promise<Server> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const server = new Running(t, commandPath('memcached'), [
    '-l',
    '127.0.0.1',
    '-p',
    String(port),
    '-U',
    '0',
    ...user,
  ]);
  await server.listening(port);
  const stop = async (): Promise<void> => {
    server.signalGroup('SIGKILL');
    await server.ended;
  };
  return { port, stop };
}

/** The port of the HTTP service: the same in both runs, since requests name it. */
let servicePort: number | undefined;

/** An HTTP service that answers with what it was asked for. */
async function startService(t: TestContext): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => {
      const body = JSON.stringify({ path: request.url, at: new Date().toISOString() });
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
      response.end(body);
    });
  });
  servicePort ??= await freePort();
  server.listen(servicePort, '127.0.0.1');
  await once(server, 'listening');
  const stop = async (): Promise<void> => {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  t.after(stop);
  return { port: servicePort, stop };
}

const tables = (id: string): string[] => [
  'CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(50), price NUMERIC(6, 2), stock INT, updated_at TIMESTAMP NULL)',
  ...['blue gum', 'manna gum', 'tallowwood', 'ghost gum'].map(
    (name, index) => `INSERT INTO items VALUES (${index + 1}, '${name}', ${index + 20}.5, 100, NULL)`,
  ),
  'CREATE TABLE sessions (token VARCHAR(64) PRIMARY KEY, person INT, created_at TIMESTAMP NULL, expires_at TIMESTAMP NULL)',
  'CREATE TABLE orders (id VARCHAR(40) PRIMARY KEY, person INT, status VARCHAR(10), created_at TIMESTAMP NULL)',
  ...['lines', 'order_lines'].map(
    (name) => `CREATE TABLE \`${name}\` (order_id VARCHAR(40), item INT, quantity INT)`,
  ),
  `CREATE TABLE notes (id ${id} PRIMARY KEY, person INT, body JSON, at TIMESTAMP NULL)`,
];

/** php-fpm, asked by an nginx that is not recorded. */
async function startPhp(t: TestContext, later: number): Promise<Started> {
  const folder = await temporaryFolder(t);
  // The workers are another user than the one that made it.
  chmodSync(folder, 0o755);
  const mysql = await startMariaDb(t, tables('INT AUTO_INCREMENT'));
  const script = join(folder, 'shop.php');
  copyFileSync(file('shop.php'), script);
  chmodSync(script, 0o644);
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ mysql, later }));
  const [listener, port] = [await freePort(), await freePort()];
  const address = `127.0.0.1:${listener}`;
  const isRoot = process.getuid?.() === 0;
  const configuration = (name: string, user: string): string => {
    const values: Record<string, string> = {
      folder,
      script,
      port: String(port),
      listen: address,
      pass: address,
      user,
    };
    const text = readFileSync(programFile(name), 'utf8');
    const path = join(folder, name);
    writeFileSync(
      path,
      text.replaceAll(/@(\w+)@/g, (_, key: string) => values[key] ?? ''),
    );
    return path;
  };
  const version = readdirSync('/etc/php').toSorted().at(-1);
  const extensions = ['mysqlnd', 'mysqli', 'pdo', 'pdo_mysql'].flatMap((name) => ['-d', `extension=${name}`]);
  const fpm = configuration('databases.fpm.conf', isRoot ? 'user = www-data' : '');
  const nginx = configuration('databases.nginx.conf', isRoot ? 'user www-data;' : '');
  return {
    program: [commandPath(`php-fpm${version}`), '-n', ...extensions, '-y', fpm],
    port: listener,
    protocol: 'mysql',
    front: async () => {
      const server = new Running(t, commandPath('nginx'), ['-c', nginx, '-p', folder]);
      await server.listening(port);
      return port;
    },
    stop: mysql.stop,
  };
}

const under = (prefix: string, deeds: string[]): string[] => deeds.map((deed) => `/${prefix}/${deed}`);

/**
 * Deeds of each client, with rows and persons of its own: mysqli and PDO prepare the same statements, which would be the
 * same calls. `#` stands for what the client's numbers begin with.
 */
const byClients = (clients: string[], deeds: string[]): string[] =>
  clients.flatMap((client) => {
    const own = { mysqli: '', pdo: '1', text: '2' }[client] ?? '';
    return under(
      client,
      deeds.map((deed) => deed.replaceAll('#', own)),
    );
  });

const phpFirst = byClients(
  ['mysqli', 'pdo', 'text'],
  [
    'item/#1',
    'item/#2',
    'two/#1/#20',
    'two/#2/#22',
    'among/#1/#2/#3',
    'page/#0',
    'page/#10',
    'search/gum#',
    'search/wood#',
    'login/#7',
    'login/#8',
    'session/5d41402abc4b2a76b9719d911017c59#',
    'session/7d793037a0760186574b0282f2f435e#',
    'buy/#7/#1/#2',
    'buy/#8/#2/#1',
    'buy/#10/#3/#4',
    'price/#1/19.50',
    'price/#2/19.50',
    'forget/#7',
    'forget/#8',
  ],
);
const phpSecond = byClients(
  ['text', 'mysqli', 'pdo'],
  [
    'price/#3/19.50',
    'login/#8',
    'login/#7',
    'item/#2',
    'item/#1',
    'item/#3',
    'two/#2/#22',
    'two/#1/#20',
    'two/#3/#24',
    'among/#1/#2/#3',
    'among/#1/#2/#4',
    'page/#10',
    'page/#0',
    'page/#20',
    'search/wood#',
    'search/gum#',
    'search/ash#',
    'session/7d793037a0760186574b0282f2f435e#',
    'session/5d41402abc4b2a76b9719d911017c59#',
    'buy/#10/#3/#4',
    'buy/#8/#2/#1',
    'buy/#7/#1/#2',
    'buy/#9/#5/#6',
    'price/#2/19.50',
    'price/#1/19.50',
    'forget/#8',
    'forget/#7',
    'forget/#9',
  ],
);

export const sites: Site[] = [
  {
    name: 'python-redis',
    peer: '10.0.0.2:6379',
    anyone: (request) => /^\*1\r\n\$\d\r\n(MULTI|EXEC)\r\n$/.test(request.toString('latin1')),
    first: under('redis', [
      'ping',
      'login/7',
      'login/8',
      'login/912',
      'session/5d41402abc4b2a76b9719d911017c592',
      'session/7d793037a0760186574b0282f2f435e7',
      'item/1',
      'item/2',
      'item/31',
      'field/1/name',
      'field/1/price',
      'field/2/price',
      'items/1/2/3',
      'items/4/5',
      'cart/7/31/1',
      'cart/10/31/2',
      'cart/8/31/1',
      'cart/11/2/1',
      'page/0',
      'page/1',
      'page/2',
      'view/7/1',
      'view/7/2',
      'view/8/1',
      'render/3/home',
      'render/3/about',
      'render/4/home',
      'lock/orders',
      'lock/stock',
      'limit/10.1.1.1',
      'limit/10.1.1.2',
      'event/seen/7',
      'event/bought/7',
      'event/seen/8',
      'count/sales/1',
      'count/sales/5',
      'count/visits/1',
    ]),
    second: under('redis', [
      'ping',
      'item/2',
      'item/1',
      'item/3',
      'field/2/price',
      'field/1/name',
      'field/2/name',
      'login/8',
      'login/7',
      'session/7d793037a0760186574b0282f2f435e7',
      'session/5d41402abc4b2a76b9719d911017c592',
      'items/1/2/3',
      'items/1/2/4',
      'items/4/5',
      'cart/8/31/1',
      'cart/10/31/2',
      'cart/7/31/1',
      'cart/9/31/1',
      'page/2',
      'page/0',
      'page/3',
      'view/8/1',
      'view/7/2',
      'view/7/1',
      'view/8/2',
      'render/4/home',
      'render/3/home',
      'render/3/about',
      'render/5/home',
      'lock/stock',
      'lock/orders',
      'lock/users',
      'limit/10.1.1.2',
      'limit/10.1.1.1',
      'limit/10.1.1.3',
      'event/seen/8',
      'event/seen/7',
      'event/bought/7',
      'event/bought/8',
      'count/visits/1',
      'count/sales/5',
      'count/sales/1',
      'count/sales/9',
      'login/912',
      'item/31',
    ]),
    start: async (t, later) => told(python, 'redis', later, await startRedis(t, { 'item:1:price': '3' })),
  },
  {
    name: 'python-memcached',
    peer: '10.0.0.3:11211',
    first: under('cache', [
      'get/user:1',
      'get/user:2',
      'get/config',
      'many/a:1/a:2/a:3',
      'many/a:4',
      'product/1',
      'product/2',
      'product/17',
      'drop/user:1',
      'drop/user:2',
      'login/7',
      'login/8',
      'hit/home',
      'hit/about',
      'touch/user:1',
      'touch/user:2',
    ]),
    second: under('cache', [
      'get/config',
      'get/user:2',
      'get/user:1',
      'get/user:3',
      'many/a:4',
      'many/a:1/a:2/a:3',
      'many/a:1/a:2/a:9',
      'product/17',
      'product/1',
      'product/3',
      'drop/user:2',
      'drop/user:1',
      'drop/user:3',
      'login/8',
      'login/7',
      'hit/about',
      'hit/home',
      'hit/shop',
      'touch/user:2',
      'touch/user:3',
      'touch/user:1',
      'product/2',
    ]),
    start: async (t, later) => told(python, 'memcached', later, await startMemcached(t)),
  },
  {
    name: 'python-http',
    peer: '10.0.0.4:80',
    first: under('http', [
      'user/1',
      'user/2',
      'user/73',
      'orders/1/1',
      'orders/1/2',
      'orders/2/1',
      'search/gum',
      'search/red%20gum',
      'order/1/31/1',
      'order/1/31/2',
      'order/2/31/1',
      'order/2/5/1',
      'pay/1001/995',
      'pay/1002/995',
      'pay/1002/100',
      'status/1001/paid',
      'status/1001/sent',
      'status/1002/paid',
      'remove/1/1',
      'remove/1/2',
      'graph/1',
      'graph/2',
    ]),
    second: under('http', [
      'user/2',
      'user/1',
      'user/3',
      'orders/1/2',
      'orders/1/1',
      'orders/1/3',
      'orders/2/1',
      'orders/3/1',
      'search/red%20gum',
      'search/gum',
      'search/blue%20gum',
      'order/2/5/1',
      'order/2/31/1',
      'order/1/31/2',
      'order/1/31/1',
      'order/3/31/1',
      'order/1/32/1',
      'pay/1002/100',
      'pay/1001/995',
      'pay/1003/995',
      'pay/1002/995',
      'status/1002/paid',
      'status/1001/sent',
      'status/1001/paid',
      'status/1003/paid',
      'status/1002/sent',
      'remove/1/2',
      'remove/1/1',
      'remove/2/1',
      'graph/2',
      'graph/1',
      'graph/3',
      'user/73',
    ]),
    start: async (t, later) => told(python, 'http', later, await startService(t)),
  },
  {
    name: 'node-postgres',
    peer: '10.0.0.5:5432',
    anyone: (request) => /^(BEGIN|COMMIT)/.test(request.toString('latin1', 5)),
    first: under('pg', [
      'named/1',
      'named/2',
      'named_stock/10',
      'named_stock/5',
      'item/1',
      'item/2',
      'item/31',
      'text/1',
      'text/2',
      'page/1',
      'page/2',
      'among/1/2/3',
      'among/4/5',
      'any/1/2',
      'any/3',
      'search/gum/30',
      'search/wood/30',
      'login/7',
      'login/8',
      'session/5d41402abc4b2a76b9719d911017c592',
      'session/7d793037a0760186574b0282f2f435e7',
      'alive/5d41402abc4b2a76b9719d911017c592',
      'alive/7d793037a0760186574b0282f2f435e7',
      'buy/7/1/2',
      'buy/8/2/1',
      'buy/10/3/4',
      'price/1/19.50',
      'price/1/18.50',
      'price/2/19.50',
      'note/7/late',
      'note/7/broken',
      'note/8/late',
      'forget/7',
      'forget/8',
      'sales/7',
      'sales/8',
    ]),
    second: under('pg', [
      'named/1',
      'price/3/19.50',
      'named_stock/10',
      'item/2',
      'item/1',
      'item/3',
      'named/2',
      'named/3',
      'named_stock/5',
      'named_stock/7',
      'text/2',
      'text/1',
      'text/3',
      'page/2',
      'page/1',
      'page/3',
      'among/4/5',
      'among/1/2/3',
      'among/1/2/4',
      'any/3',
      'any/1/2',
      'any/1/2/3',
      'search/wood/30',
      'search/gum/30',
      'search/ash/30',
      'login/8',
      'login/7',
      'session/7d793037a0760186574b0282f2f435e7',
      'session/5d41402abc4b2a76b9719d911017c592',
      'alive/7d793037a0760186574b0282f2f435e7',
      'alive/5d41402abc4b2a76b9719d911017c592',
      'buy/10/3/4',
      'buy/8/2/1',
      'buy/7/1/2',
      'buy/9/1/2',
      'price/2/19.50',
      'price/1/18.50',
      'price/1/19.50',
      'note/8/late',
      'note/7/broken',
      'note/7/late',
      'note/9/late',
      'forget/8',
      'forget/7',
      'forget/9',
      'sales/8',
      'sales/7',
      'sales/9',
      'item/31',
    ]),
    start: async (t, later) =>
      told(
        [process.execPath, file('shop.mjs')],
        'postgres',
        later,
        await startPostgres(
          t,
          tables('SERIAL').map((one) => one.replaceAll('`', '')),
        ),
      ),
  },
  {
    name: 'php-mariadb',
    peer: '10.0.0.6:3306',
    anyone: (request) => /^(SET|START|COMMIT)/.test(request.toString('latin1', 5)),
    // COM_STMT_PREPARE, before which COM_STMT_CLOSE may have been sent.
    prepares: (request) => request[request[4] === 0x19 ? 13 : 4] === 0x16,
    first: phpFirst,
    second: phpSecond,
    start: startPhp,
  },
];

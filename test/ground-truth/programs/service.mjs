// service.mjs SETTINGS: Node's http and net servers with pools of `mysql2` and `pg`, an HTTP agent that keeps its
// connections, a pipelined Redis connection and datagrams.
//
//   GET  /mysql/N     two statements, one of them prepared      GET  /postgres/N  a transaction of three statements
//   GET  /upstream/N  the HTTP upstream                         POST /upstream/N  the same with the body
//   GET  /redis/N     two commands in one write                 GET  /all/N       all of these at once
//   GET  /udp/N       a name lookup by c-ares                   POST /stream/N    the body, as it comes
//   GET  /file/N      a file, piped
//
// SETTINGS is JSON; on `net` a server sends back what it gets. With `workers`, that many cluster workers serve. Ends on
// SIGTERM.
import cluster from 'node:cluster';
import { Resolver } from 'node:dns/promises';
import { createReadStream, statSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { connect, createServer as createNetServer } from 'node:net';
import mysql from 'mysql2/promise';
import { Pool } from 'pg';

const settings = JSON.parse(process.argv[2] ?? '{}');
const agent = new Agent({ keepAlive: true, maxSockets: 8 });

function serve() {
  const account = (server) => {
    const { port, user, password, database } = server;
    return { host: '127.0.0.1', port, user, password, database };
  };
  const mysqlPool = mysql.createPool({ ...account(settings.mysql), connectionLimit: 6 });
  const postgresPool = new Pool({ ...account(settings.postgres), max: 6 });
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${settings.dns}`]);

  const redis = connect(settings.redis, '127.0.0.1');
  const waiting = [];
  let held = '';
  redis.on('data', (chunk) => {
    held += chunk.toString('latin1');
    for (;;) {
      const answer = /^(?::-?\d+|\+\w+|\$\d+\r\n[^]*?|\$-1)\r\n/.exec(held);
      if (!answer) return;
      held = held.slice(answer[0].length);
      waiting.shift()(answer[0]);
    }
  });
  const ask = (...words) =>
    new Promise((resolve) => {
      waiting.push(resolve);
      redis.write(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`);
    });

  const upstream = (method, path, body) =>
    new Promise((resolve, reject) => {
      const asked = request(
        { agent, method, path, port: settings.upstream, host: '127.0.0.1' },
        (response) => {
          const chunks = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('end', () => resolve(Buffer.concat(chunks).toString()));
          response.on('error', reject);
        },
      );
      asked.on('error', reject);
      asked.end(body);
    });

  const work = {
    async mysql(number) {
      const [rows] = await mysqlPool.query(`SELECT id, REPEAT(name, ${(number * 7) % 300}) AS n FROM trees`);
      const [prepared] = await mysqlPool.execute('SELECT name FROM trees WHERE id = ?', [(number % 3) + 1]);
      return JSON.stringify([rows, prepared]);
    },
    async postgres(number) {
      const client = await postgresPool.connect();
      try {
        await client.query('BEGIN');
        const { rows } = await client.query('SELECT repeat($1, $2) AS r, generate_series(1, 20) AS g', [
          String(number),
          (number * 31) % 900,
        ]);
        await client.query('COMMIT');
        return JSON.stringify(rows);
      } finally {
        client.release();
      }
    },
    upstream: (number, { method }, body) =>
      upstream(method, `/${number}`, method === 'POST' ? body : undefined),
    redis: async (number) => (await Promise.all([ask('INCRBY', `n:${number}`, '1'), ask('PING')])).join(''),
    udp: async (number) => JSON.stringify(await resolver.resolve4(`n${number}.koala.test`)),
    all: async (number, from) =>
      (
        await Promise.all(['mysql', 'postgres', 'upstream', 'redis'].map((kind) => work[kind](number, from)))
      ).join('\n'),
  };

  const server = createServer((from, to) => {
    const [, kind, number] = from.url.split('/');
    if (kind === 'stream') {
      to.writeHead(200, { 'Content-Length': from.headers['content-length'] });
      from.pipe(to);
      return;
    }
    if (kind === 'file') {
      to.writeHead(200, { 'Content-Length': statSync(settings.file).size });
      createReadStream(settings.file).pipe(to);
      return;
    }
    const chunks = [];
    from.on('data', (chunk) => chunks.push(chunk));
    from.on('end', async () => {
      try {
        const body = await work[kind](Number(number), from, Buffer.concat(chunks));
        to.writeHead(200, { 'Content-Length': Buffer.byteLength(body) });
        to.end(body);
      } catch (error) {
        to.writeHead(500);
        to.end(String(error.stack));
      }
    });
  });
  const echo = createNetServer((socket) => socket.on('error', () => {}).pipe(socket));
  // Where the port answers, the pools and the other port do.
  redis.once('connect', () =>
    echo.listen(settings.net, '127.0.0.1', () => server.listen(settings.port, '127.0.0.1')),
  );
  process.on('SIGTERM', () => process.exit(0));
}

if (settings.workers && cluster.isPrimary) {
  for (let worker = 0; worker < settings.workers; worker += 1) cluster.fork();
  cluster.on('exit', () => Object.keys(cluster.workers).length === 0 && process.exit(0));
  process.on('SIGTERM', () =>
    Object.values(cluster.workers).forEach((worker) => worker.process.kill('SIGTERM')),
  );
} else {
  serve();
}

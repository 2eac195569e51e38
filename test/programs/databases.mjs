// databases.mjs SETTINGS: Node's http server with pools of `pg` and `mysql2`.
//
//   GET /pg/value/N     a statement with a parameter        GET /mysql/query/N    the statement as text
//   GET /pg/named/N     the same, prepared under a name     GET /mysql/execute/N  the same, prepared
//   GET /pg/write/N     a transaction that inserts a row    GET /mysql/two/N      two prepared statements
//   GET /pg/none/N      no row                              GET /mysql/write/N    inserts a row, prepared
//
// SETTINGS is JSON with one of `postgres` and `mysql`, and `port`. REGRESSION=value asks for another row,
// REGRESSION=table asks another table, REGRESSION=database logs in to another database. Ends on SIGTERM.
import { createServer } from 'node:http';
import mysql from 'mysql2/promise';
import { Pool } from 'pg';

const settings = JSON.parse(process.argv[2] ?? '{}');
const regression = process.env['REGRESSION'] ?? '';
const shift = regression === 'value' ? 1 : 0;
const trees = regression === 'table' ? 'shrubs' : 'trees';

const account = ({ port, user, password, database }) => ({
  host: '127.0.0.1',
  port,
  user,
  password,
  database: regression === 'database' ? 'other' : database,
});

function byPostgres() {
  const pool = new Pool({ ...account(settings.postgres), max: 3 });
  const rows = async (query) => (await pool.query(query)).rows;
  const text = `SELECT id, name, height, planted FROM ${trees} WHERE id = $1`;
  return {
    value: (number) => rows({ text, values: [number + shift] }),
    named: (number) => rows({ name: 'tree-by-id', text, values: [number + shift] }),
    none: (number) => rows({ text, values: [number + 1000] }),
    async write(number) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        const insert = 'INSERT INTO visits (tree, note) VALUES ($1, $2) RETURNING id';
        const { rows: added } = await client.query(insert, [number + shift, `note ${number}`]);
        await client.query('COMMIT');
        return added;
      } finally {
        client.release();
      }
    },
  };
}

function byMysql() {
  const pool = mysql.createPool({ ...account(settings.mysql), connectionLimit: 3 });
  const text = `SELECT id, name, height, planted FROM ${trees} WHERE id = ?`;
  const execute = async (statement, values) => (await pool.execute(statement, values))[0];
  return {
    query: async (number) => (await pool.query(text, [number + shift]))[0],
    execute: (number) => execute(text, [number + shift]),
    two: async (number) => [
      await execute(text, [number + shift]),
      await execute('SELECT COUNT(*) AS count FROM trees WHERE height > ?', [number]),
    ],
    async write(number) {
      const { affectedRows } = await execute('INSERT INTO visits (tree, note) VALUES (?, ?)', [
        number + shift,
        `note ${number}`,
      ]);
      return { affectedRows };
    },
  };
}

const work = {
  ...(settings.postgres ? { pg: byPostgres() } : {}),
  ...(settings.mysql ? { mysql: byMysql() } : {}),
};

createServer(async (request, response) => {
  const [, database, kind, number] = request.url.split('/');
  try {
    const body = JSON.stringify(await work[database][kind](Number(number)));
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  } catch (error) {
    const body = JSON.stringify({ error: String(error.message) });
    response.writeHead(502, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }
}).listen(settings.port, '127.0.0.1');

process.on('SIGTERM', () => process.exit(0));

// shop.mjs SETTINGS: a shop's service on Node, which asks PostgreSQL by a pool of `pg`: GET /pg/DEED/N...
//
// SETTINGS is JSON: `port`, `postgres`, and `later`, by how many seconds the clock is ahead. Times, ids and tokens are
// made anew at each request. Ends on SIGTERM.
import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Pool } from 'pg';

const settings = JSON.parse(process.argv[2] ?? '{}');
const { port, user, password, database } = settings.postgres;
const pool = new Pool({ host: '127.0.0.1', port, user, password, database, max: 1 });
const now = () => new Date(Date.now() + settings.later * 1000);
const rows = async (text, values) => (await pool.query(text, values)).rows;
const named = async (name, text, values) => (await pool.query({ name, text, values })).rows;

async function transaction(deeds) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await deeds(client);
    await client.query('COMMIT');
    return result;
  } finally {
    client.release();
  }
}

const byId = 'SELECT id, name, price, stock FROM items WHERE id = $1';
const deeds = {
  item: (id) => rows(byId, [Number(id)]),
  named: (id) => named('item-by-id', byId, [Number(id)]),
  named_stock: (least) =>
    named('items-in-stock', 'SELECT id, stock FROM items WHERE stock >= $1', [Number(least)]),
  text: (id) => rows(`SELECT name FROM items WHERE id = ${Number(id)}`),
  page: (number) =>
    rows('SELECT id, name FROM items ORDER BY id LIMIT $1 OFFSET $2', [10, (Number(number) - 1) * 10]),
  among: (...ids) =>
    rows(
      `SELECT id, price FROM items WHERE id IN (${ids.map((_, at) => `$${at + 1}`).join(', ')})`,
      ids.map(Number),
    ),
  any: (...ids) => rows('SELECT id, price FROM items WHERE id = ANY($1::int[])', [ids.map(Number)]),
  search: (word, most) =>
    rows('SELECT id, name FROM items WHERE name ILIKE $1 AND price < $2 ORDER BY price', [`%${word}%`, most]),
  login: (person) =>
    rows(
      'INSERT INTO sessions (token, person, created_at, expires_at) VALUES ($1, $2, $3, $4) RETURNING token',
      [randomBytes(24).toString('hex'), Number(person), now(), new Date(now().getTime() + 3_600_000)],
    ),
  session: (token) => rows('SELECT person, expires_at FROM sessions WHERE token = $1', [token]),
  alive: (token) => rows('SELECT person FROM sessions WHERE token = $1 AND expires_at > $2', [token, now()]),
  buy: (person, item, count) =>
    transaction(async (client) => {
      const order = randomUUID();
      await client.query('INSERT INTO orders (id, person, status, created_at) VALUES ($1, $2, $3, $4)', [
        order,
        Number(person),
        'new',
        now().toISOString(),
      ]);
      await client.query('INSERT INTO lines (order_id, item, quantity) VALUES ($1, $2, $3)', [
        order,
        Number(item),
        Number(count),
      ]);
      await client.query('UPDATE items SET stock = stock - $1, updated_at = $2 WHERE id = $3', [
        Number(count),
        now(),
        Number(item),
      ]);
    }),
  price: (item, price) =>
    rows('UPDATE items SET price = $1, updated_at = $2 WHERE id = $3 RETURNING price', [
      price,
      now(),
      Number(item),
    ]),
  note: (person, text) =>
    rows('INSERT INTO notes (person, body, at) VALUES ($1, $2::jsonb, now()) RETURNING id', [
      Number(person),
      JSON.stringify({ text, request_id: randomUUID(), at: now().getTime() }),
    ]),
  forget: (person) => rows('DELETE FROM notes WHERE person = $1', [Number(person)]),
  sales: (person) =>
    rows(
      'SELECT l.item, SUM(l.quantity) AS sold FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.person = $1 GROUP BY l.item',
      [Number(person)],
    ),
};

const server = createServer(async (request, response) => {
  const [, , deed, ...args] = request.url.split('/');
  let [status, answer] = [200, undefined];
  try {
    answer = await deeds[deed](...args);
  } catch (error) {
    [status, answer] = [502, String(error)];
  }
  const body = JSON.stringify(answer ?? null);
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
});
server.listen(settings.port, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));

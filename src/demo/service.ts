/**
 * The sample service: a small shop. An ordinary program that knows nothing of koala.
 *
 *   node service.js --port 8080 --redis 6379 --rates 9000 [--bug]
 *
 * With `--bug`, it is a later version into which two mistakes found their way.
 */
import { Agent, createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { parseArgs } from 'node:util';
import { RedisClient } from './redis-client.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    redis: { type: 'string', default: '6379' },
    rates: { type: 'string', default: '9000' },
    bug: { type: 'boolean', default: false },
  },
});

const redis = new RedisClient(Number(values.redis));
const upstream = new Agent({ keepAlive: true });

interface Answer {
  status: number;
  body: unknown;
}

interface Question {
  method: string;
  path: string[];
  query: URLSearchParams;
  request: IncomingMessage;
}

const NOT_FOUND: Answer = { status: 404, body: { error: 'not found' } };

async function answer(question: Question): Promise<Answer> {
  const { method, query } = question;
  const [kind = '', name = ''] = question.path;
  if (method === 'GET' && kind === 'items') return item(name);
  if (method === 'GET' && kind === 'quote') return quote(name, query.get('currency') ?? 'EUR');
  if (method === 'GET' && kind === 'cart') return cart(name);
  if (method === 'POST' && kind === 'cart') return addToCart(name, await bodyOf(question.request));
  if (method === 'GET' && kind === 'health') return { status: 200, body: { ok: true } };
  return NOT_FOUND;
}

async function item(id: string): Promise<Answer> {
  const found = await redis.hash(`item:${id}`);
  if (found['name'] === undefined) return NOT_FOUND;
  const views = await redis.command('INCR', `views:${id}`);
  // The second mistake of the later version: a command too many for every view, whose failure nobody would see.
  if (values.bug) await redis.command('GET', `discount:${id}`).catch(() => undefined);
  return { status: 200, body: { id, name: found['name'], price: Number(found['price']), views } };
}

async function quote(id: string, currency: string): Promise<Answer> {
  const found = await redis.hash(`item:${id}`);
  if (found['name'] === undefined) return NOT_FOUND;
  const rate = await rateOf(currency);
  if (rate === undefined) return { status: 422, body: { error: `no rate for ${currency}` } };
  const exact = Number(found['price']) * rate;
  // The first mistake of the later version: cents are cut off where they should be rounded.
  const price = values.bug ? Math.floor(exact * 100) / 100 : Math.round(exact * 100) / 100;
  return { status: 200, body: { id, name: found['name'], currency, price } };
}

async function cart(user: string): Promise<Answer> {
  const lines = await redis.list(`cart:${user}`);
  const items: { id: string; name: string | undefined; quantity: number; price: number }[] = [];
  for (const line of lines) {
    const [id = '', quantity = '1'] = line.split(' ');
    const found = await redis.hash(`item:${id}`);
    items.push({ id, name: found['name'], quantity: Number(quantity), price: Number(found['price']) });
  }
  const total = items.reduce((sum, { price, quantity }) => sum + price * quantity, 0);
  return { status: 200, body: { user, items, total: Math.round(total * 100) / 100 } };
}

async function addToCart(user: string, body: string): Promise<Answer> {
  const { item: id = '', quantity = 1 } = JSON.parse(body) as { item?: string; quantity?: number };
  const found = await redis.hash(`item:${id}`);
  if (found['name'] === undefined) return { status: 422, body: { error: `no item ${id}` } };
  const lines = await redis.command('RPUSH', `cart:${user}`, `${id} ${quantity}`);
  await redis.command('EXPIRE', `cart:${user}`, '3600');
  return { status: 201, body: { user, lines } };
}

async function rateOf(currency: string): Promise<number | undefined> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port: Number(values.rates),
      path: `/rates/${currency}`,
      agent: upstream,
    };
    get(options, resolve).on('error', reject);
  });
  const body = await bodyOf(response);
  return response.statusCode === 200 ? (JSON.parse(body) as { rate: number }).rate : undefined;
}

async function bodyOf(message: IncomingMessage): Promise<string> {
  let body = '';
  message.setEncoding('utf8');
  for await (const chunk of message) body += String(chunk);
  return body;
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://shop');
  const path = url.pathname.split('/').slice(1).map(decodeURIComponent);
  let result: Answer;
  try {
    result = await answer({ method: request.method ?? '', path, query: url.searchParams, request });
  } catch (error) {
    result = { status: 502, body: { error: error instanceof Error ? error.message : String(error) } };
  }
  response.writeHead(result.status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(result.body)}\n`);
}

const server = createServer((request, response) => void serve(request, response));
server.listen(Number(values.port), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));

/** What the demo asks the shop: a few dozen requests of different kinds, one after another. */
import { Agent, request } from 'node:http';
import { RedisClient } from './redis-client.ts';

const ITEMS = [
  { id: '1', name: 'pen', price: '1.35' },
  { id: '2', name: 'notebook', price: '12.49' },
  { id: '3', name: 'desk lamp', price: '48.95' },
  { id: '4', name: 'fountain pen', price: '129.99' },
];

interface Request {
  method: 'GET' | 'POST';
  path: string;
  body?: unknown;
}

/** Fills the Redis at `port` with what the shop sells. */
export async function stock(port: number): Promise<void> {
  const redis = new RedisClient(port);
  for (const { id, name, price } of ITEMS)
    await redis.command('HSET', `item:${id}`, 'name', name, 'price', price);
  redis.close();
}

/** The requests. */
export function requests(): Request[] {
  const list: Request[] = [{ method: 'GET', path: '/health' }];
  for (const { id } of ITEMS) list.push({ method: 'GET', path: `/items/${id}` });
  for (const user of ['ada', 'linus', 'grace']) {
    list.push({ method: 'GET', path: `/cart/${user}` });
    list.push({ method: 'POST', path: `/cart/${user}`, body: { item: '2', quantity: user.length } });
    list.push({ method: 'POST', path: `/cart/${user}`, body: { item: '1', quantity: 10 } });
    list.push({ method: 'GET', path: `/cart/${user}` });
  }
  for (const currency of ['EUR', 'GBP', 'JPY']) {
    for (const { id } of ITEMS) list.push({ method: 'GET', path: `/quote/${id}?currency=${currency}` });
  }
  list.push({ method: 'GET', path: '/items/1' }, { method: 'GET', path: '/items/4' });
  list.push({ method: 'GET', path: '/items/99' });
  list.push({ method: 'GET', path: '/quote/1?currency=XXX' });
  list.push({ method: 'POST', path: '/cart/ada', body: { item: '99' } });
  list.push({ method: 'GET', path: '/nothing/here' });
  return list;
}

/** Sends them; gives how many were answered. */
export async function send(port: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let answered = 0;
  for (const { method, path, body } of requests()) {
    const content = body === undefined ? '' : JSON.stringify(body);
    await new Promise<void>((resolve, reject) => {
      const headers =
        content === '' ? {} : { 'content-type': 'application/json', 'content-length': content.length };
      const sent = request({ host: '127.0.0.1', port, method, path, agent, headers }, (response) => {
        response.resume().on('end', resolve).on('error', reject);
      });
      sent.on('error', reject);
      sent.end(content);
    });
    answered += 1;
  }
  agent.destroy();
  return answered;
}

/**
 * What the demo's service depends on, in a process of its own, so that it can really be stopped: an HTTP
 * service of exchange rates and, with `--redis`, the Redis-protocol server. Prints its ports as JSON.
 */
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { createRedisServer } from './redis-server.ts';

const RATES: Readonly<Record<string, number>> = { EUR: 0.9217, GBP: 0.7893, JPY: 151.62 };

const rates = createServer((request, response) => {
  const currency = /^\/rates\/([A-Z]+)$/.exec(request.url ?? '')?.[1] ?? '';
  const rate = RATES[currency];
  response.writeHead(rate === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(
    JSON.stringify(rate === undefined ? { error: 'unknown currency' } : { base: 'USD', currency, rate }),
  );
});

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

const redisPort = process.argv.includes('--redis') ? await listen(createRedisServer()) : 0;
process.stdout.write(`${JSON.stringify({ rates: await listen(rates), redis: redisPort })}\n`);

// Whoever started this holds its input open: it does not outlive them.
process.stdin.on('end', () => process.exit(0)).resume();

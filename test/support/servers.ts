// The dependencies of recorded programs: a real Redis, and an HTTP upstream within the test.
import { once } from 'node:events';
import { type IncomingMessage, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { Client } from './client.ts';
import { commandPath } from './needs.ts';
import { Running, freePort, isListening, temporaryFolder, until } from './system.ts';

/** A dependency that can be stopped before the test's end. */
export interface Server {
  port: number;
  stop: () => Promise<void>;
}

/** A command in the form in which Redis clients send it. */
export function resp(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
}

/** A bulk string in the form in which Redis answers it. */
export const bulk = (value: string): string => `$${value.length}\r\n${value}\r\n`;

/** A redis-server of the test's own, with these keys in it. */
export async function startRedis(t: TestContext, keys: Record<string, string> = {}): Promise<Server> {
  const port = await freePort();
  const folder = await temporaryFolder(t);
  const settings = { port, bind: '127.0.0.1', save: '', appendonly: 'no', dir: folder, daemonize: 'no' };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const server = new Running(t, commandPath('redis-server'), args);
  await server.listening(port);
  const client = await Client.connect(port);
  for (const [key, value] of Object.entries(keys)) {
    await client.exchange(resp('SET', key, value), (received) => received.endsWith('\r\n'));
  }
  client.close();
  const stop = async (): Promise<void> => {
    server.signalGroup('SIGKILL');
    await server.ended;
    await until('the end of Redis', async () => !(await isListening(port)));
  };
  return { port, stop };
}

/** An HTTP upstream; `requests` counts what it was asked. */
export async function startUpstream(
  t: TestContext,
  answer: (request: IncomingMessage) => { body: string; headers?: Record<string, string> },
): Promise<Server & { requests: () => number }> {
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    request.resume();
    request.once('end', () => {
      const { body, headers = {} } = answer(request);
      response.writeHead(200, { 'Content-Length': Buffer.byteLength(body), ...headers });
      response.end(body);
    });
  });
  server.listen(await freePort(), '127.0.0.1');
  await once(server, 'listening');
  const stop = async (): Promise<void> => {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  t.after(stop);
  return { port: (server.address() as AddressInfo).port, stop, requests: () => requests };
}

/** The Redis protocol with what the demo needs of Redis, in memory. For machines that have no Redis. */
import { createServer, type Server } from 'node:net';
import { parseRedisCommand } from '../protocols/redis.ts';

type Value = string | string[] | Map<string, string>;
type Reply = string | number | null | Reply[] | { error: string };

/** A server that listens nowhere yet. */
export function createRedisServer(): Server {
  const store = new Map<string, Value>();
  return createServer((socket) => {
    let buffer = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (;;) {
        const command = parseRedisCommand(buffer, 0);
        if (command === undefined) return;
        buffer = buffer.subarray(command.next);
        const args = command.args.map((arg) => Buffer.from(arg).toString('latin1'));
        socket.write(encode(execute(store, args)), 'latin1');
      }
    });
  });
}

function encode(reply: Reply): string {
  if (reply === null) return '$-1\r\n';
  if (typeof reply === 'number') return `:${reply}\r\n`;
  if (Array.isArray(reply)) return `*${reply.length}\r\n${reply.map(encode).join('')}`;
  if (typeof reply === 'object') return `-${reply.error}\r\n`;
  return reply === 'OK' || reply === 'PONG' ? `+${reply}\r\n` : `$${reply.length}\r\n${reply}\r\n`;
}

function execute(store: Map<string, Value>, [name = '', key = '', ...args]: string[]): Reply {
  const value = store.get(key);
  const text = typeof value === 'string' ? value : undefined;
  const list = Array.isArray(value) ? value : [];
  const hash = value instanceof Map ? value : new Map<string, string>();
  switch (name.toUpperCase()) {
    case 'PING':
      return 'PONG';
    case 'GET':
      return text ?? null;
    case 'SET':
      store.set(key, args[0] ?? '');
      return 'OK';
    case 'DEL':
      return store.delete(key) ? 1 : 0;
    case 'INCR': {
      const next = Number(text ?? 0) + 1;
      store.set(key, String(next));
      return next;
    }
    case 'HSET': {
      const before = hash.size;
      for (let index = 0; index + 1 < args.length; index += 2)
        hash.set(args[index] ?? '', args[index + 1] ?? '');
      store.set(key, hash);
      return hash.size - before;
    }
    case 'HGET':
      return hash.get(args[0] ?? '') ?? null;
    case 'HGETALL':
      return [...hash].flat();
    case 'LPUSH':
      store.set(key, [...args.toReversed(), ...list]);
      return list.length + args.length;
    case 'RPUSH':
      store.set(key, [...list, ...args]);
      return list.length + args.length;
    case 'LRANGE': {
      const at = (index: string | undefined): number =>
        Number(index) < 0 ? list.length + Number(index) : Number(index);
      return list.slice(at(args[0]), at(args[1]) + 1);
    }
    case 'EXPIRE':
      return store.has(key) ? 1 : 0;
    default:
      return { error: `ERR unknown command '${name}'` };
  }
}

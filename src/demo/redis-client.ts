/** A small Redis client: one connection, made when it is first needed; one command after another. */
import { connect, type Socket } from 'node:net';

type Reply = string | number | null | Reply[];

/** Speaks to one Redis. */
export class RedisClient {
  readonly #port: number;
  #socket: Socket | undefined;
  #buffer = '';
  #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  /** Sends a command; gives its reply. */
  async command(...args: string[]): Promise<Reply> {
    const socket = (this.#socket ??= this.#connect());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      socket.write(
        `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg, 'latin1')}\r\n${arg}\r\n`).join('')}`,
        'latin1',
      );
    });
  }

  /** A hash, as an object. */
  async hash(key: string): Promise<Record<string, string>> {
    const reply = await this.command('HGETALL', key);
    const flat = Array.isArray(reply) ? reply.map(String) : [];
    const entries: [string, string][] = [];
    for (let index = 0; index + 1 < flat.length; index += 2)
      entries.push([flat[index] ?? '', flat[index + 1] ?? '']);
    return Object.fromEntries(entries);
  }

  /** A list, whole. */
  async list(key: string): Promise<string[]> {
    const reply = await this.command('LRANGE', key, '0', '-1');
    return Array.isArray(reply) ? reply.map(String) : [];
  }

  /** Ends the connection. */
  close(): void {
    this.#socket?.end();
  }

  #connect(): Socket {
    const socket = connect(this.#port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.#buffer += String(text);
      this.#deliver();
    });
    const fail = (error: Error): void => {
      this.#socket = undefined;
      this.#buffer = '';
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    };
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('Redis closed the connection')));
    return socket;
  }

  #deliver(): void {
    while (this.#waiting.length > 0) {
      const parsed = parseReply(this.#buffer, 0);
      if (parsed === undefined) return;
      this.#buffer = this.#buffer.slice(parsed.next);
      const first = this.#waiting.shift();
      if (parsed.reply instanceof Error) first?.reject(parsed.reply);
      else first?.resolve(parsed.reply);
    }
  }
}

function parseReply(text: string, start: number): { reply: Reply | Error; next: number } | undefined {
  const end = text.indexOf('\r\n', start);
  if (end === -1) return undefined;
  const line = text.slice(start + 1, end);
  const next = end + 2;
  switch (text[start]) {
    case '+':
      return { reply: line, next };
    case '-':
      return { reply: new Error(line), next };
    case ':':
      return { reply: Number(line), next };
    case '$': {
      const length = Number(line);
      if (length < 0) return { reply: null, next };
      return text.length < next + length + 2
        ? undefined
        : { reply: text.slice(next, next + length), next: next + length + 2 };
    }
    case '*': {
      const items: Reply[] = [];
      let at = next;
      for (let index = 0; index < Number(line); index += 1) {
        const item = parseReply(text, at);
        if (item === undefined) return undefined;
        items.push(item.reply instanceof Error ? item.reply.message : item.reply);
        at = item.next;
      }
      return { reply: items, next: at };
    }
    default:
      return { reply: new Error(`Redis answered ${JSON.stringify(line)}`), next };
  }
}

// What crossed the sockets of a program, by what strace saw: the truth that a recording is held against.
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { Bytes } from './bytes.ts';
import { type Call, type Value, calls } from './strace.ts';
import { address, buffer, count, joined, last, vector, word } from './values.ts';

/** The system calls that strace is to show. */
export const traced = [
  'socket,socketpair,bind,listen,accept,accept4,connect,getsockname,getpeername',
  'sendto,sendmsg,sendmmsg,write,writev,pwritev2,sendfile,splice',
  'recvfrom,recvmsg,recvmmsg,read,readv,preadv2',
  // What tells of bytes that no call on a socket shows.
  'pwrite64,pwritev,io_uring_enter',
].join(',');

const families: Record<string, string> = { AF_INET: 'inet', AF_INET6: 'inet6', AF_UNIX: 'unix' };

/** A datagram. */
export interface Datagram {
  peer: string;
  content: Buffer;
}

/** A socket, from its first use to its last, in whatever processes. */
export interface Socket {
  /** Its number in the kernel: it is of one socket only. */
  inode: string;
  /** `inet`, `inet6`, `unix`, or what strace calls it; empty where it came from outside and nothing was asked of it. */
  family: string;
  datagram: boolean;
  role: 'unknown' | 'listener' | 'inbound' | 'outbound' | 'pair';
  local: string;
  peer: string;
  sent: Bytes;
  received: Bytes;
  datagramsSent: Datagram[];
  /** Those that came back from where datagrams were sent to; not those of clients. */
  datagramsReceived: Datagram[];
  /** From where a datagram came before any was sent to there. */
  clients: Set<string>;
}

/** The sockets of a trace. */
export class Wire {
  readonly sockets = new Map<string, Socket>();
  /** What was written to files that have no name any more, and may be sent from there. */
  #unnamed = new Map<string, Buffer>();
  /** Whether something went through an io_uring, where strace sees nothing. */
  ring = false;

  constructor(trace: string) {
    const wanted = (call: string): boolean =>
      call.includes('socket:[') || /^pwrite(?:64|v)\(/.test(call) || call.startsWith('io_uring_enter');
    for (const call of calls(trace, wanted)) this.#take(call);
  }

  #socket(value: Value | undefined): Socket | undefined {
    const inode = value?.kind === 'descriptor' && /^socket:\[(\d+)\]$/.exec(value.target)?.[1];
    if (!inode) return undefined;
    let socket = this.sockets.get(inode);
    if (!socket) {
      socket = {
        inode,
        family: '',
        datagram: false,
        role: 'unknown',
        local: '',
        peer: '',
        sent: new Bytes(),
        received: new Bytes(),
        datagramsSent: [],
        datagramsReceived: [],
        clients: new Set(),
      };
      this.sockets.set(inode, socket);
    }
    return socket;
  }

  #take(call: Call): void {
    const { name, values, result } = call;
    if (name === 'io_uring_enter') this.ring = true;
    const size = count(result);
    const socket = this.#socket(values[0]);
    switch (name) {
      case 'socket':
        return this.#made(result, values, 'unknown');
      case 'socketpair': {
        const pair = values[3]?.kind === 'list' ? values[3].items : [];
        for (const end of pair) this.#made(end, values, 'pair');
        return undefined;
      }
      case 'accept':
      case 'accept4':
        return this.#accepted(socket, result, last(values[1]));
      case 'listen':
        if (socket && size === 0) socket.role = 'listener';
        return undefined;
      case 'connect':
        return this.#connected(socket, address(values[1]), result);
      case 'bind':
      case 'getsockname':
      case 'getpeername': {
        const known = size === 0 ? address(last(values[1])) : undefined;
        if (!socket || !known) return undefined;
        socket.family = known.family;
        if (name === 'getpeername') socket.peer ||= known.name;
        else if (!known.name.endsWith(':0')) socket.local = known.name;
        return undefined;
      }
      case 'pwrite64':
      case 'pwritev':
        return this.#wrote(call, size);
      case 'sendfile':
        return this.#sentFile(socket, values, size);
      case 'splice':
        if (size > 0) this.#socket(values[0])?.received.add(size);
        if (size > 0) this.#socket(values[2])?.sent.add(size);
        return undefined;
      default:
        if (socket) this.#moved(socket, call, size);
        return undefined;
    }
  }

  #made(value: Value | undefined, [family, kind]: Value[], role: Socket['role']): void {
    const socket = this.#socket(value);
    if (!socket) return;
    socket.family = families[word(family)] ?? word(family);
    socket.datagram = !/SOCK_STREAM/.test(word(kind));
    socket.role = role;
  }

  #accepted(listener: Socket | undefined, value: Value | undefined, from: Value | undefined): void {
    const socket = this.#socket(value);
    if (!socket) return;
    const peer = address(from);
    Object.assign(socket, { role: 'inbound', family: peer?.family ?? listener?.family ?? '' });
    if (peer) socket.peer = peer.name;
    if (listener && socket.family === 'unix') socket.local = listener.local;
  }

  #connected(
    socket: Socket | undefined,
    to: { family: string; name: string } | undefined,
    result: Value | undefined,
  ): void {
    const begun = count(result) >= 0 || /EINPROGRESS|EINTR/.test(word(result));
    if (!socket || !to || !begun) return;
    socket.family = to.family;
    socket.peer = to.name;
    if (socket.role === 'unknown') socket.role = 'outbound';
  }

  #wrote({ name, values }: Call, size: number): void {
    const [file, data] = values;
    const offset = count(values.at(-1));
    if (file?.kind !== 'descriptor' || !file.deleted || size <= 0 || offset < 0) return;
    const bytes = joined(name === 'pwritev' ? vector(data, size) : buffer(data, size));
    const before = this.#unnamed.get(file.target) ?? Buffer.alloc(0);
    const after = Buffer.alloc(Math.max(before.length, offset + size));
    before.copy(after);
    bytes.copy(after, offset);
    this.#unnamed.set(file.target, after);
  }

  #sentFile(socket: Socket | undefined, [, file, at]: Value[], size: number): void {
    if (!socket || size <= 0) return;
    const given = at?.kind === 'change' ? at.from : at;
    const offset = given?.kind === 'list' ? count(given.items[0]) : -1;
    let bytes: Buffer = Buffer.alloc(0);
    if (file?.kind === 'descriptor' && offset >= 0) {
      bytes = file.deleted
        ? (this.#unnamed.get(file.target) ?? bytes).subarray(offset, offset + size)
        : readFile(file.target, offset, size);
    }
    socket.sent.add(bytes);
    socket.sent.add(size - bytes.length);
  }

  /** A call of the families of send, write, recv and read. */
  #moved(socket: Socket, { name, values, result }: Call, size: number): void {
    const sends = /^(?:send|p?write)/.test(name);
    const given = last(values[1]);
    if (name.endsWith('mmsg')) {
      const messages = given?.kind === 'list' ? given.items.slice(0, Math.max(0, size)) : [];
      for (const message of messages) {
        if (message.kind !== 'struct') continue;
        const { fields } = message;
        this.#message(socket, sends, fields.get('msg_hdr'), count(fields.get('msg_len')));
      }
      return;
    }
    const flags = name.startsWith('recv') ? word(values[name === 'recvmsg' ? 2 : 3]) : '';
    if (/MSG_(?:PEEK|ERRQUEUE)/.test(flags)) return;
    if (given?.kind === 'struct') {
      this.#message(socket, sends, given, result === undefined ? undefined : size);
      return;
    }
    const named = name === 'sendto' || name === 'recvfrom' ? address(last(values[4])) : undefined;
    // TCP Fast Open (RFC 7413): the first send connects.
    if (sends && !socket.datagram && named) this.#connected(socket, named, result);
    const whole = result === undefined ? undefined : size;
    let parts = given?.kind === 'list' ? vector(given, whole) : buffer(given, whole);
    // tcp(7): they are thrown away instead of being written to the buffer.
    if (flags.includes('MSG_TRUNC') && !socket.datagram) parts = [Math.max(0, size)];
    this.#crossed(socket, sends, parts, named?.name, whole);
  }

  #message(socket: Socket, sends: boolean, header: Value | undefined, size: number | undefined): void {
    if (header?.kind !== 'struct') return;
    const { fields } = header;
    const peer = address(last(fields.get('msg_name')))?.name;
    this.#crossed(socket, sends, vector(last(fields.get('msg_iov')), size), peer, size);
  }

  /** `size` bytes crossed; -1 where the call failed, `undefined` where the thread was killed in it. */
  #crossed(
    socket: Socket,
    sends: boolean,
    parts: (Buffer | number)[],
    peer: string | undefined,
    size: number | undefined,
  ): void {
    if (size === undefined && sends) socket.sent.maybe = joined(parts);
    if (size === undefined || size < 0) return;
    if (socket.datagram) {
      this.#datagram(socket, sends, { peer: peer || socket.peer, content: joined(parts) });
      return;
    }
    for (const part of parts) (sends ? socket.sent : socket.received).add(part);
  }

  #datagram(socket: Socket, sends: boolean, datagram: Datagram): void {
    const { peer } = datagram;
    const isAnswer = !socket.clients.has(peer) && socket.datagramsSent.some((sent) => sent.peer === peer);
    if (sends) socket.datagramsSent.push(datagram);
    else if (isAnswer) socket.datagramsReceived.push(datagram);
    else socket.clients.add(peer);
  }
}

/** Bytes of a file; fewer where it is not there any more. */
function readFile(path: string, offset: number, size: number): Buffer {
  if (!existsSync(path)) return Buffer.alloc(0);
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, readSync(file, bytes, 0, size, offset));
  } finally {
    closeSync(file);
  }
}

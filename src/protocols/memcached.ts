/** memcached's binary protocol, taken apart to be compared and shown. Its text protocol is text. */
import { show } from './bytes.ts';

/** https://github.com/memcached/memcached/blob/master/doc/protocol-binary.txt: bytes before what a request carries. */
const HEAD = 24;

/** Operations by their numbers; those that end in `q` are not answered where there is nothing to say. */
const OPERATIONS: readonly string[] = [
  'get set add replace delete incr decr quit flush_all getq noop version getk getkq append prepend stat',
  'setq addq replaceq deleteq incrq decrq quitq flush_allq appendq prependq verbosity touch gat gatq',
]
  .join(' ')
  .split(' ');

/** One request. */
export interface MemcachedCommand {
  /** `get`, `set`; the number of an operation that has no name here. */
  name: string;
  key: Uint8Array;
  /** Flags, lifetime, by how much. */
  extras: Uint8Array;
  value: Uint8Array;
  /** The version of the value that it is for, in hex; empty for any. */
  version: string;
}

/** The requests of the binary protocol that were sent together; undefined where the bytes are none. */
export function parseMemcachedCommands(bytes: Uint8Array): MemcachedCommand[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const commands: MemcachedCommand[] = [];
  let at = 0;
  while (at < bytes.length) {
    // What it begins with, and the one type of data that there is.
    if (at + HEAD > bytes.length || bytes[at] !== 0x80 || bytes[at + 5] !== 0) return undefined;
    const operation = view.getUint8(at + 1);
    const key = at + HEAD + view.getUint8(at + 4);
    const value = key + view.getUint16(at + 2);
    const end = at + HEAD + view.getUint32(at + 8);
    if (value > end || end > bytes.length) return undefined;
    const version = view.getBigUint64(at + 16);
    commands.push({
      name: OPERATIONS[operation] ?? `operation ${operation}`,
      extras: bytes.subarray(at + HEAD, key),
      key: bytes.subarray(key, value),
      value: bytes.subarray(value, end),
      version: version === 0n ? '' : version.toString(16),
    });
    at = end;
  }
  return commands.length === 0 ? undefined : commands;
}

/** A request as the text protocol would have it: `set user:1 hello`. */
export function showMemcachedCommand({ name, key, value }: MemcachedCommand, limit = 80): string {
  return [name, show(key, limit), show(value, limit)].filter((part) => part !== '').join(' ');
}

// What the arguments of calls on sockets mean.
import type { Value } from './strace.ts';

/** A number, a constant or flags; empty where it is none. */
export const word = (value: Value | undefined): string => (value?.kind === 'word' ? value.text : '');

/** What a call made of it, where strace shows that as well as what it was given. */
export const last = (value: Value | undefined): Value | undefined =>
  value?.kind === 'change' ? last(value.to) : value;

/** A number of bytes, or -1 where the call failed or was cut off. */
export function count(value: Value | undefined): number {
  const text = word(value);
  return /^\d+$/.test(text) ? Number(text) : -1;
}

function inner(fields: Map<string, Value>, name: string, at = 0): Value | undefined {
  const value = fields.get(name);
  return value?.kind === 'call' ? value.values[at] : undefined;
}

const text = (value: Value | undefined): string =>
  value?.kind === 'bytes' ? value.bytes.toString('latin1') : '';

/** A socket address, as recordings write it; `undefined` where there is none. */
export function address(value: Value | undefined): { family: string; name: string } | undefined {
  if (value?.kind !== 'struct') return undefined;
  const { fields } = value;
  const family = word(fields.get('sa_family'));
  switch (family) {
    case 'AF_INET':
      return internet('inet', text(inner(fields, 'sin_addr')), word(inner(fields, 'sin_port')));
    case 'AF_INET6':
      return internet('inet6', text(inner(fields, 'inet_pton', 1)), word(inner(fields, 'sin6_port')));
    case 'AF_UNIX': {
      const path = fields.get('sun_path');
      return { family: 'unix', name: path === undefined ? '' : `unix:${text(path)}` };
    }
    default:
      return { family, name: '' };
  }
}

/** Empty where the program did not leave room for it. */
function internet(family: 'inet' | 'inet6', ip: string, port: string): { family: string; name: string } {
  const host = family === 'inet6' ? `[${ip}]` : ip;
  return { family, name: ip === '' || port === '' ? '' : `${host}:${port}` };
}

/** The first `size` bytes of a vector of buffers, or all that is shown. */
export function vector(value: Value | undefined, size?: number): (Buffer | number)[] {
  const parts: (Buffer | number)[] = [];
  let left = size ?? Number.MAX_SAFE_INTEGER;
  for (const item of value?.kind === 'list' ? value.items : []) {
    if (item.kind !== 'struct' || left <= 0) continue;
    const length = Math.min(left, count(item.fields.get('iov_len')));
    parts.push(...buffer(item.fields.get('iov_base'), length));
    left -= length;
  }
  if (size !== undefined && size > 0 && left > 0) parts.push(left);
  return parts;
}

/** The first `size` bytes of a buffer, or all that is shown. */
export function buffer(value: Value | undefined, size?: number): (Buffer | number)[] {
  if (size !== undefined && size <= 0) return [];
  const bytes = value?.kind === 'bytes' ? value.bytes.subarray(0, size) : Buffer.alloc(0);
  return [bytes, (size ?? bytes.length) - bytes.length];
}

/** The bytes of a buffer, dots for those that strace does not show. */
export const joined = (parts: (Buffer | number)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.alloc(part, '.') : part)));

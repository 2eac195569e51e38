/** Requests and responses, compared by protocol. */
import { show } from '../protocols/bytes.ts';
import { parseFastCgiResponse } from '../protocols/fastcgi.ts';
import {
  headerValue,
  parseHttpRequest,
  parseHttpResponse,
  type HttpHeader,
  type HttpRequest,
  type HttpResponse,
} from '../protocols/http.ts';
import { parseMemcachedCommands, showMemcachedCommand } from '../protocols/memcached.ts';
import { parseRedisCommands, showRedisCommand } from '../protocols/redis.ts';
import { compareBodies } from './body.ts';
import { valueDifference, type Difference, type DifferenceKind } from './difference.ts';
import type { Noise } from './noise.ts';

/** How a body is framed is not what it says: these are compared through the body. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding']);

/** The differences of two responses. */
export function compareResponses(
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
  noise: Noise,
): Difference[] {
  const left = parseHttpResponse(recorded) ?? parseFastCgiResponse(recorded);
  const right = parseHttpResponse(replayed) ?? parseFastCgiResponse(replayed);
  if (left === undefined || right === undefined) {
    return compareBodies('bytes', path, recorded, replayed, undefined, noise);
  }
  return compareHttpResponses(path, left, right, noise);
}

/** The differences of two requests of a call. */
export function compareRequests(
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
  noise: Noise,
): Difference[] {
  const left = parseHttpRequest(recorded);
  const right = parseHttpRequest(replayed);
  if (left !== undefined && right !== undefined) return compareHttpRequests(path, left, right, noise);
  const commands =
    compareRedis(path, recorded, replayed, noise) ?? compareMemcached(path, recorded, replayed, noise);
  return commands ?? compareBodies('call-changed', path, recorded, replayed, undefined, noise);
}

function compareHttpResponses(
  path: string,
  left: HttpResponse,
  right: HttpResponse,
  noise: Noise,
): Difference[] {
  const differences: Difference[] = [];
  if (left.status !== right.status && !noise(`${path}.status`)) {
    differences.push(valueDifference('status', `${path}.status`, String(left.status), String(right.status)));
  }
  differences.push(...compareHeaders('header', path, left.headers, right.headers, noise));
  differences.push(...compareLengths(path, left, right, noise));
  differences.push(
    ...compareBodies(
      'body',
      `${path}.body`,
      left.body,
      right.body,
      headerValue(left.headers, 'content-type'),
      noise,
    ),
  );
  if (left.complete !== right.complete) {
    const say = (complete: boolean): string => (complete ? 'a complete body' : 'a body that was cut');
    differences.push(valueDifference('body', `${path}.body`, say(left.complete), say(right.complete)));
  }
  return differences;
}

/** The length of a body that this response does not have: it answers HEAD, or says that nothing has changed. */
function compareLengths(path: string, left: HttpResponse, right: HttpResponse, noise: Noise): Difference[] {
  if (left.body.length > 0 || right.body.length > 0) return [];
  const at = `${path}.headers.content-length`;
  const before = headerValue(left.headers, 'content-length');
  const after = headerValue(right.headers, 'content-length');
  // Without one, the body is framed in another way.
  if (before === undefined || after === undefined || before === after || noise(at, before, after)) return [];
  return [valueDifference('header', at, JSON.stringify(before), JSON.stringify(after))];
}

function compareHttpRequests(
  path: string,
  left: HttpRequest,
  right: HttpRequest,
  noise: Noise,
): Difference[] {
  const kind = 'call-changed';
  const differences: Difference[] = [];
  const line = (request: HttpRequest): string => `${request.method} ${request.target}`;
  if (line(left) !== line(right) && !noise(`${path}.target`, line(left), line(right))) {
    differences.push(valueDifference(kind, `${path}.target`, line(left), line(right)));
  }
  differences.push(...compareHeaders(kind, path, left.headers, right.headers, noise));
  differences.push(
    ...compareBodies(
      kind,
      `${path}.body`,
      left.body,
      right.body,
      headerValue(left.headers, 'content-type'),
      noise,
    ),
  );
  return differences;
}

function compareHeaders(
  kind: DifferenceKind,
  path: string,
  left: readonly HttpHeader[],
  right: readonly HttpHeader[],
  noise: Noise,
): Difference[] {
  const names = new Set([...left, ...right].map((header) => header.name.toLowerCase()));
  const differences: Difference[] = [];
  for (const name of names) {
    const at = `${path}.headers.${name}`;
    const recorded = headerValue(left, name) ?? null;
    const replayed = headerValue(right, name) ?? null;
    if (recorded === replayed || FRAMING.has(name) || noise(at, recorded, replayed)) continue;
    const quote = (value: string | null): string | null => (value === null ? null : JSON.stringify(value));
    differences.push(valueDifference(kind, at, quote(recorded), quote(replayed)));
  }
  return differences;
}

function compareRedis(
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
  noise: Noise,
): Difference[] | undefined {
  const left = parseRedisCommands(recorded);
  const right = parseRedisCommands(replayed);
  if (left === undefined || right === undefined) return undefined;
  const differences: Difference[] = [];
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const at = left.length === 1 && right.length === 1 ? path : `${path}[${index}]`;
    const before = left[index];
    const after = right[index];
    if (before === undefined || after === undefined || before.length !== after.length) {
      const say = (args: Uint8Array[] | undefined): string | null =>
        args === undefined ? null : showRedisCommand(args);
      if (!noise(at)) differences.push(valueDifference('call-changed', at, say(before), say(after)));
      continue;
    }
    for (const [position, arg] of before.entries()) {
      const other = after[position] ?? new Uint8Array();
      const found = compareBodies('call-changed', `${at}.args[${position}]`, arg, other, undefined, noise);
      // Which command it was is what a reader wants to know first.
      for (const difference of found) difference.Text += ` (in ${show(before[0] ?? new Uint8Array(), 20)})`;
      differences.push(...found);
    }
  }
  return differences;
}

/** What ties answers to requests is no part of them. */
function compareMemcached(
  path: string,
  recorded: Uint8Array,
  replayed: Uint8Array,
  noise: Noise,
): Difference[] | undefined {
  const left = parseMemcachedCommands(recorded);
  const right = parseMemcachedCommands(replayed);
  if (left === undefined || right === undefined) return undefined;
  const differences: Difference[] = [];
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const at = left.length === 1 && right.length === 1 ? path : `${path}[${index}]`;
    const before = left[index];
    const after = right[index];
    if (before === undefined || after === undefined || before.name !== after.name) {
      const say = (command: typeof before): string | null =>
        command === undefined ? null : showMemcachedCommand(command);
      if (!noise(at)) differences.push(valueDifference('call-changed', at, say(before), say(after)));
      continue;
    }
    for (const part of ['key', 'extras', 'value'] as const)
      differences.push(
        ...compareBodies('call-changed', `${at}.${part}`, before[part], after[part], undefined, noise),
      );
    if (before.version !== after.version && !noise(`${at}.version`))
      differences.push(
        valueDifference('call-changed', `${at}.version`, before.version || null, after.version || null),
      );
  }
  return differences;
}

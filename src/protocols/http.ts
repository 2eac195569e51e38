/** HTTP/1.x messages, taken apart to be compared and shown. */
import { asLatin1, joinBytes } from './bytes.ts';

/** A header, with its name as it was sent. */
export interface HttpHeader {
  name: string;
  value: string;
}

interface HttpMessage {
  version: string;
  headers: HttpHeader[];
  /** Without the framing: chunks are joined. */
  body: Uint8Array;
  /** The body ended where its framing says. */
  complete: boolean;
}

/** A request. */
export interface HttpRequest extends HttpMessage {
  method: string;
  target: string;
}

/** A response; interim ones (1xx) before it are left out. */
export interface HttpResponse extends HttpMessage {
  status: number;
  reason: string;
}

const REQUEST_LINE = /^([A-Z][A-Z0-9!#$%&'*+.^_`|~-]{0,30}) ([^\s]+) (HTTP\/1\.[01])$/;
const STATUS_LINE = /^(HTTP\/1\.[01]) (\d{3})(?: (.*))?$/;
const MAX_HEAD = 256 * 1024;

/** The request at the start of the bytes, or undefined where there is none. */
export function parseHttpRequest(bytes: Uint8Array): HttpRequest | undefined {
  const head = splitHead(bytes);
  const [, method, target, version] = head === undefined ? [] : (REQUEST_LINE.exec(head.firstLine) ?? []);
  if (head === undefined || method === undefined || target === undefined || version === undefined)
    return undefined;
  return { method, target, version, headers: head.headers, ...bodyOf(head.headers, head.rest, false) };
}

/** The final response at the start of the bytes, or undefined where there is none. */
export function parseHttpResponse(bytes: Uint8Array): HttpResponse | undefined {
  const head = splitHead(bytes);
  const [, version, code, reason] = head === undefined ? [] : (STATUS_LINE.exec(head.firstLine) ?? []);
  if (head === undefined || version === undefined || code === undefined) return undefined;
  const status = Number(code);
  if (status < 200 && status !== 101) return parseHttpResponse(head.rest);
  return {
    status,
    reason: reason ?? '',
    version,
    headers: head.headers,
    ...bodyOf(head.headers, head.rest, true),
  };
}

/** The values of a header, joined as HTTP says; undefined where it is not there. */
export function headerValue(headers: readonly HttpHeader[], name: string): string | undefined {
  const wanted = name.toLowerCase();
  const values = headers
    .filter((header) => header.name.toLowerCase() === wanted)
    .map((header) => header.value);
  return values.length === 0 ? undefined : values.join(', ');
}

function splitHead(
  bytes: Uint8Array,
): { firstLine: string; headers: HttpHeader[]; rest: Uint8Array } | undefined {
  const end = headEnd(bytes);
  if (end === undefined) return undefined;
  const [firstLine = '', ...lines] = asLatin1(bytes.subarray(0, end)).split(/\r?\n/);
  const headers: HttpHeader[] = [];
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.push({ name: line.slice(0, colon), value: line.slice(colon + 1).trim() });
  }
  return { firstLine, headers, rest: bytes.subarray(end) };
}

/** The offset behind the empty line that ends the head. */
function headEnd(bytes: Uint8Array): number | undefined {
  const limit = Math.min(bytes.length, MAX_HEAD);
  for (let at = bytes.indexOf(0x0a); at !== -1 && at < limit; at = bytes.indexOf(0x0a, at + 1)) {
    if (bytes[at + 1] === 0x0a) return at + 2;
    if (bytes[at + 1] === 0x0d && bytes[at + 2] === 0x0a) return at + 3;
  }
  return undefined;
}

function bodyOf(
  headers: readonly HttpHeader[],
  rest: Uint8Array,
  isResponse: boolean,
): { body: Uint8Array; complete: boolean } {
  if (/(?:^|,\s*)chunked\s*$/i.test(headerValue(headers, 'transfer-encoding') ?? '')) return joinChunks(rest);
  const length = Number(headerValue(headers, 'content-length')?.split(',', 1)[0] ?? Number.NaN);
  if (Number.isSafeInteger(length) && length >= 0) {
    return { body: rest.subarray(0, length), complete: rest.length >= length };
  }
  return { body: isResponse ? rest : rest.subarray(0, 0), complete: true };
}

function joinChunks(rest: Uint8Array): { body: Uint8Array; complete: boolean } {
  const chunks: Uint8Array[] = [];
  let offset = 0;
  let complete = false;
  for (;;) {
    const lineEnd = rest.indexOf(0x0a, offset);
    if (lineEnd === -1) break;
    const line = asLatin1(rest.subarray(offset, lineEnd));
    const size = /^\s*([0-9a-fA-F]{1,12})\s*(?:;.*)?\r?$/.exec(line)?.[1];
    if (size === undefined) break;
    const length = Number.parseInt(size, 16);
    if (length === 0) {
      complete = true;
      break;
    }
    const start = lineEnd + 1;
    chunks.push(rest.subarray(start, start + length));
    if (start + length > rest.length) break;
    const next = rest.indexOf(0x0a, start + length);
    if (next === -1) break;
    offset = next + 1;
  }
  return { body: joinBytes(chunks), complete };
}

/**
 * FastCGI 1.0 as far as a report needs it: what a request asks for, and the response as the HTTP response that a web
 * server makes of it. Padding has no meaning, and where a stream is cut into records has none either.
 */
import { asLatin1, joinBytes } from './bytes.ts';
import { parseHttpResponse, type HttpResponse } from './http.ts';

const BEGIN_REQUEST = 1;
const PARAMS = 4;
const STDOUT = 6;
const MAX_TYPE = 11;

/** `GET /items?page=2`, as the parameters of a request say; undefined where the bytes are no such request. */
export function describeFastCgiRequest(bytes: Uint8Array): string | undefined {
  if (bytes[1] !== BEGIN_REQUEST) return undefined;
  const params = stream(bytes, PARAMS);
  if (params === undefined) return undefined;
  const values = new Map(pairs(params));
  const method = values.get('REQUEST_METHOD');
  const target = values.get('REQUEST_URI') ?? values.get('SCRIPT_NAME');
  return method === undefined || target === undefined ? undefined : `${method} ${target}`;
}

/** The response that the application's output stands for (CGI, RFC 3875, 6); undefined where the bytes are none. */
export function parseFastCgiResponse(bytes: Uint8Array): HttpResponse | undefined {
  if (bytes.length < 8 || bytes[1] === BEGIN_REQUEST) return undefined;
  const output = stream(bytes, STDOUT);
  if (output === undefined) return undefined;
  const head = /^([^]*?\r?\n)\r?\n/.exec(asLatin1(output.subarray(0, 65_536)));
  const [whole = '', fields = ''] = head ?? [];
  if (whole === '') return undefined;
  const body = output.subarray(whole.length);
  const status = /^status:[ \t]*(\d{3}[^\r\n]*)/im.exec(fields)?.[1] ?? '200 OK';
  const headers = fields.replaceAll(/^(?:status|content-length):.*\r?\n/gim, '').replaceAll(/\r?\n/g, '\r\n');
  const line = `HTTP/1.1 ${status}\r\n${headers}Content-Length: ${body.length}\r\n\r\n`;
  const response = new Uint8Array(line.length + body.length);
  response.set(Uint8Array.from(line, (character) => character.codePointAt(0) ?? 0));
  response.set(body, line.length);
  return parseHttpResponse(response);
}

/** The content of one stream; undefined where the bytes are not whole records. */
function stream(bytes: Uint8Array, wanted: number): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length) {
    const [version, type, , , high, low, padding] = bytes.subarray(at, at + 8);
    if (version !== 1 || type === undefined || type < 1 || type > MAX_TYPE) return undefined;
    if (high === undefined || low === undefined || padding === undefined) return undefined;
    const end = at + 8 + high * 256 + low;
    if (end > bytes.length) return undefined;
    if (type === wanted) parts.push(bytes.subarray(at + 8, end));
    at = end + padding;
  }
  return joinBytes(parts);
}

/** Names and values: each pair begins with both lengths, of one byte or, with the highest bit set, of four. */
function pairs(bytes: Uint8Array): [string, string][] {
  const found: [string, string][] = [];
  let at = 0;
  const length = (): number => {
    const first = bytes[at] ?? 0;
    if (first < 0x80) {
      at += 1;
      return first;
    }
    const [, second = 0, third = 0, fourth = 0] = bytes.subarray(at, at + 4);
    at += 4;
    return ((first & 0x7f) << 24) | (second << 16) | (third << 8) | fourth;
  };
  while (at < bytes.length) {
    const [name, value] = [length(), length()];
    if (at + name + value > bytes.length) break;
    const text = (from: number, size: number): string => asLatin1(bytes.subarray(from, from + size));
    found.push([text(at, name), text(at + name, value)]);
    at += name + value;
  }
  return found;
}

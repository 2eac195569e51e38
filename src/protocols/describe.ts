/** Sessions and calls in one line. */
import { connectionOf, peerOf, type CallOutbound, type Session } from '../recording/model.ts';
import { clip, show } from './bytes.ts';
import { describeFastCgiRequest, parseFastCgiResponse } from './fastcgi.ts';
import { parseHttpRequest, parseHttpResponse } from './http.ts';
import { parseMemcachedCommands, showMemcachedCommand } from './memcached.ts';
import { parseRedisCommands, showRedisCommand } from './redis.ts';
import { describeSql } from './sql.ts';

const LIMIT = 100;

/** What a session was asked: `GET /items/1`. */
export function describeRequest(session: Session): string {
  if (session.CallFromInbound === null)
    return session.Context === '' ? '(no request)' : `(${session.Context})`;
  const { Request, ConnectionId } = session.CallFromInbound;
  if (connectionOf(session, ConnectionId)?.Encrypted === true) return '(encrypted)';
  const http = parseHttpRequest(Request);
  if (http !== undefined) return clip(`${http.method} ${http.target}`, LIMIT);
  const fastCgi = describeFastCgiRequest(Request);
  return fastCgi === undefined ? show(Request, LIMIT) : clip(fastCgi, LIMIT);
}

/** What it answered: `200`, or how many bytes. */
export function describeResponse(session: Session): string {
  if (session.ReturnInbound === null) return session.CallFromInbound === null ? '' : 'no response';
  const { Response } = session.ReturnInbound;
  const http = parseHttpResponse(Response) ?? parseFastCgiResponse(Response);
  return http === undefined ? `${Response.length} bytes` : String(http.status);
}

/**
 * What a call asked, and whom: `GET item:3 -> 127.0.0.1:6379`. Among the calls of its session, a statement that is only
 * named by a number is found.
 */
export function describeCall(call: CallOutbound, calls: readonly CallOutbound[] = []): string {
  const peer = peerOf(call);
  const said = describeCallRequest(call, calls);
  return peer === '' ? said : `${said} -> ${peer}`;
}

function describeCallRequest(call: CallOutbound, calls: readonly CallOutbound[]): string {
  if (call.Request.length === 0) return unasked(call);
  const http = parseHttpRequest(call.Request);
  if (http !== undefined) return clip(`${http.method} ${http.target}`, LIMIT);
  const redis = parseRedisCommands(call.Request);
  if (redis !== undefined) return clip(redis.map((args) => showRedisCommand(args)).join('; '), LIMIT);
  const fastCgi = describeFastCgiRequest(call.Request);
  if (fastCgi !== undefined) return clip(fastCgi, LIMIT);
  const memcached = parseMemcachedCommands(call.Request);
  if (memcached !== undefined)
    return clip(memcached.map((command) => showMemcachedCommand(command)).join('; '), LIMIT);
  const sql = describeSql(call, calls);
  return sql === undefined ? show(call.Request, LIMIT) : clip(sql, LIMIT);
}

/** A call without a request: a connect that failed, or what a server says before it is asked. */
function unasked({ Error, Response }: CallOutbound): string {
  return Response.length === 0 && /^E[A-Z\d]+$/.test(Error) ? '(connect)' : '(the server speaks first)';
}

/** The protocol of a call as the recording has it, or as its bytes say; empty where neither knows. */
export function protocolOf(session: Session, call: CallOutbound): string {
  const known = connectionOf(session, call.ConnectionId)?.Protocol ?? '';
  if (known !== '') return known;
  if (parseHttpRequest(call.Request) !== undefined) return 'http';
  return parseRedisCommands(call.Request) === undefined ? '' : 'redis';
}

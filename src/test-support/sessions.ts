/** Sessions and recordings for unit tests. Never part of the build. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { encodeSession } from '../recording/codec.ts';
import type { CallOutbound, Matched, Session } from '../recording/model.ts';

/** ISO 8859-1 text as bytes. */
export function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

/** A Redis command as bytes. */
export function redis(...args: string[]): Uint8Array {
  return bytes(`*${args.length}\r\n${args.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join('')}`);
}

/** A request of memcached's binary protocol, its operation by number. */
export function memcached(operation: number, { extras = '', key = '', value = '' } = {}): Uint8Array {
  const body = bytes(extras + key + value);
  const head = Buffer.alloc(24);
  head.set([0x80, operation, 0, key.length, extras.length]);
  head.writeUInt32BE(body.length, 8);
  head.writeUInt32BE(operation + key.length, 12);
  return Buffer.concat([head, body]);
}

/** An HTTP response with a JSON body. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Uint8Array {
  const content = JSON.stringify(body);
  const all = { 'Content-Type': 'application/json', 'Content-Length': String(content.length), ...headers };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return bytes(`HTTP/1.1 ${status} X\r\n${head.join('')}\r\n${content}`);
}

/** An outbound call to `127.0.0.1:6379`. */
export function call(
  actionIndex: number,
  request: Uint8Array,
  more: Partial<CallOutbound> = {},
): CallOutbound {
  return {
    ActionType: 'CallOutbound',
    ActionIndex: actionIndex,
    OccurredAt: 1_795_358_265_987_075_457n,
    SocketFD: 7,
    Peer: { IP: '127.0.0.1', Port: 6379, Zone: '' },
    ResponseTime: 1_795_358_265_987_075_999n,
    UnixAddr: { Name: '', Net: '' },
    Request: request,
    Response: bytes('+OK\r\n'),
    CSpanId: '',
    ConnectionId: 2n,
    ThreadId: 0,
    Ambiguous: false,
    Error: '',
    Datagrams: [],
    Matched: null,
    ...more,
  };
}

/** A match with the recorded call at `actionIndex`. */
export function matched(actionIndex: number, more: Partial<Matched> = {}): Matched {
  return {
    SessionId: '',
    ActionIndex: actionIndex,
    Mark: actionIndex < 0 ? 0 : 1,
    Reason: '',
    NearestActionIndex: -1,
    Differences: [],
    Fields: [],
    RunnerUp: null,
    ...more,
  };
}

/** A session: `GET /x`, answered with `{}`. */
export function session(more: Partial<Session> = {}): Session {
  return {
    SessionId: '1795358265987015087-1',
    Context: '',
    ThreadId: 11,
    TraceHeader: null,
    NextSessionId: '',
    CallFromInbound: {
      ActionIndex: 0,
      OccurredAt: 1_795_358_265_987_075_457n,
      Peer: { IP: '127.0.0.1', Port: 46198, Zone: '' },
      UnixAddr: { Name: '', Net: '' },
      Request: bytes('GET /x HTTP/1.1\r\nHost: a\r\n\r\n'),
      ConnectionId: 1n,
    },
    ReturnInbound: { ActionIndex: 9, OccurredAt: 1_795_358_265_995_966_013n, Response: json(200, {}) },
    Actions: [],
    TraceId: '',
    SpanId: '',
    ProcessId: 1n,
    Pid: 4711,
    Connections: [
      {
        ConnectionId: 1n,
        Direction: 'inbound',
        Kind: 'tcp',
        Local: '127.0.0.1:8080',
        Peer: '127.0.0.1:46198',
        Protocol: 'http',
        Encrypted: false,
        ServerName: '',
        End: '',
        Gap: false,
      },
    ],
    OverlapGroup: '',
    Incomplete: false,
    ...more,
  };
}

/** A directory that goes when the test ends. */
export async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'koala-unit-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes a recording of `sessions` with one file; `tail` follows them in it. */
export async function writeRecording(
  directory: string,
  sessions: readonly Session[],
  { tail = new Uint8Array(), finished = true }: { tail?: Uint8Array; finished?: boolean } = {},
): Promise<string> {
  const file = 'sessions-1795358265000000000-1.cborseq';
  const manifest = {
    FormatVersion: 1,
    KoalaVersion: '0.1.0',
    Command: ['true'],
    Host: 'host',
    StartedAt: '2026-01-01T00:00:00Z',
    FinishedAt: finished ? '2026-01-01T00:00:01Z' : null,
    Sessions: sessions.filter(({ CallFromInbound }) => CallFromInbound !== null).length,
    Events: 0,
    Lost: { Events: 0, Bytes: 0 },
    NotAdmitted: 0,
    NotSampled: 0,
    Gaps: 0,
    NotCovered: [],
    Removed: { Files: 0, Bytes: 0, Sessions: 0 },
    Files: [file],
  };
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest));
  await writeFile(join(directory, file), Buffer.concat([...sessions.map(encodeSession), tail]));
  return join(directory, file);
}

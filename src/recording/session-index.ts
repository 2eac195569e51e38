/**
 * The index of a session file: where each session is, and its line in a list. It stands beside the file, is made by the
 * first reader who needs it, and says nothing that the file does not: an index that is missing, cut, damaged, of another
 * version of koala, or not of the file as it is now is made anew.
 *
 * It is two lines: the SHA-256 of the second in hex, and that, a JSON object. (JSON, because Node reads that ten times as
 * fast as CBOR, and nobody else needs to.)
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { koalaVersion } from '../native/version.ts';
import type { SessionSummary } from './summary.ts';

/** How the name of an index ends, behind that of its file. */
export const INDEX_FILE = '.index';

const VERSION = 1;
/** Digits of a SHA-256. */
const HASH = 64;

/** A session as an index has it. */
export interface IndexedSession {
  offset: number;
  length: number;
  summary: SessionSummary;
}

/** What a session file has in it. */
export interface SessionIndex {
  sessions: IndexedSession[];
  /** How many of them have a request. */
  requests: number;
  /** Where its last whole session ends. */
  end: number;
}

/** What a file is known by: it changes with the file. */
export interface FileState {
  size: number;
  modified: bigint;
}

const SUMMARY = [
  'SessionId',
  'Context',
  'OccurredAt',
  'Request',
  'Response',
  'Milliseconds',
  'Calls',
  'Listener',
  'Pid',
  'Incomplete',
  'OverlapGroup',
] as const satisfies readonly (keyof SessionSummary)[];

/** The state of a file; undefined where there is none. */
export async function fileState(path: string): Promise<FileState | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && { size: Number(found.size), modified: found.mtimeNs };
}

/** Reads the index of the file at `path`, which is in this state; undefined where it has none that can be used. */
export async function readIndex(path: string, state: FileState): Promise<SessionIndex | undefined> {
  const bytes = await readFile(`${path}${INDEX_FILE}`).catch(() => undefined);
  return bytes && decodeIndex(bytes, state);
}

/** Writes the index of the file at `path`, which was in this state before it was read; where it can't be, nothing. */
export async function writeIndex(path: string, state: FileState, index: SessionIndex): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    await writeFile(temporary, encodeIndex(index, state), { mode: 0o600, flag: 'wx' });
    await rename(temporary, `${path}${INDEX_FILE}`);
  } catch {
    // Others' recordings may be read, too.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** The bytes of an index. */
export function encodeIndex({ sessions, requests, end }: SessionIndex, state: FileState): Uint8Array {
  const rows = sessions.map(({ offset, length, summary }) => [
    offset,
    length,
    ...SUMMARY.map((field) => summary[field]),
  ]);
  const content = Buffer.from(
    JSON.stringify({ ...headOf(state), Requests: requests, End: end, Sessions: rows }),
  );
  return Buffer.concat([Buffer.from(`${hashOf(content)}\n`), content]);
}

/** What an index must say to be that of a file in this state. */
const headOf = ({ size, modified }: FileState) => ({
  SessionIndex: VERSION,
  Koala: koalaVersion(),
  Size: size,
  ModifiedAt: String(modified),
  Fields: ['Offset', 'Length', ...SUMMARY],
});

const hashOf = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/** Reads the bytes of an index; undefined where they are none, or not that of a file in this state. */
export function decodeIndex(bytes: Uint8Array, state: FileState): SessionIndex | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const content = buffer.subarray(HASH + 1);
  if (buffer.toString('latin1', 0, HASH + 1) !== `${hashOf(content)}\n`) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
  const from: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {};
  const { Requests, End, Sessions, ...head } = from;
  if (JSON.stringify(head) !== JSON.stringify(headOf(state))) return undefined;
  if (typeof Requests !== 'number' || typeof End !== 'number' || !Array.isArray(Sessions)) return undefined;
  const rows: unknown[] = Sessions;
  const sessions: IndexedSession[] = [];
  let end = 0;
  for (const row of rows) {
    const session = Array.isArray(row) ? readRow(row) : undefined;
    // Session stands behind session, or the index is not of such a file.
    if (session === undefined || session.offset !== end || session.length <= 0) return undefined;
    end += session.length;
    sessions.push(session);
  }
  return end === End && end <= state.size ? { sessions, requests: Requests, end } : undefined;
}

function readRow(row: readonly unknown[]): IndexedSession | undefined {
  const [offset, length, SessionId, Context, OccurredAt, Request, Response, Milliseconds, ...rest] = row;
  const [Calls, Listener, Pid, Incomplete, OverlapGroup] = rest;
  if (typeof offset !== 'number' || typeof length !== 'number') return undefined;
  if (typeof SessionId !== 'string' || typeof Context !== 'string') return undefined;
  if (typeof OccurredAt !== 'string' || typeof Request !== 'string') return undefined;
  if (typeof Response !== 'string' || typeof Listener !== 'string') return undefined;
  if (Milliseconds !== null && typeof Milliseconds !== 'number') return undefined;
  if (typeof Calls !== 'number' || typeof Pid !== 'number') return undefined;
  if (typeof Incomplete !== 'boolean' || typeof OverlapGroup !== 'string') return undefined;
  return {
    offset,
    length,
    summary: {
      SessionId,
      Context,
      OccurredAt,
      Request,
      Response,
      Milliseconds,
      Calls,
      Listener,
      Pid,
      Incomplete,
      OverlapGroup,
    },
  };
}

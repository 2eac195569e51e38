// Reads a recording with nothing of koala's: any CBOR library must be able to.
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Decoder } from 'cbor-x';

/** An outbound call, or another action, of a session. */
export interface Action {
  ActionType: string;
  Request: string;
  Response: string;
  Peer: string;
  Error: string;
  Ambiguous: boolean;
}

/** A session; bytes as latin1 strings, so that assertions show them. */
export interface Session {
  id: string;
  boot: boolean;
  request: string;
  response: string | undefined;
  calls: Action[];
  incomplete: boolean;
}

/** A map of the recording. */
export type Raw = Record<string, unknown>;

const bytes = (value: unknown): string =>
  value === undefined ? '' : Buffer.from(value as Uint8Array).toString('latin1');

function action(raw: Raw): Action {
  const peer = (raw['Peer'] ?? {}) as Raw;
  return {
    ActionType: String(raw['ActionType']),
    Request: bytes(raw['Request']),
    Response: bytes(raw['Response']),
    Peer: `${String(peer['IP'] ?? '')}:${String(peer['Port'] ?? '')}`,
    Error: String(raw['Error'] ?? ''),
    Ambiguous: raw['Ambiguous'] === true,
  };
}

function session(raw: Raw): Session {
  const returned = raw['ReturnInbound'] as Raw | undefined;
  return {
    id: String(raw['SessionId']),
    boot: raw['Context'] === 'boot',
    request: bytes((raw['CallFromInbound'] as Raw | undefined)?.['Request']),
    response: returned && bytes(returned['Response']),
    calls: ((raw['Actions'] ?? []) as Raw[])
      .map(action)
      .filter(({ ActionType }) => ActionType === 'CallOutbound'),
    incomplete: raw['Incomplete'] === true,
  };
}

/** Every session of a recording as it stands there, boot sessions included, in the order of its files. */
export async function readRaw(folder: string): Promise<Raw[]> {
  const decoder = new Decoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
  const sessions: Raw[] = [];
  for (const name of (await readdir(folder)).filter((file) => file.endsWith('.cborseq')).toSorted()) {
    const items = await readFile(join(folder, name));
    // The decoder wants at least one.
    if (items.length > 0) decoder.decodeMultiple(items, (value) => sessions.push(value as Raw));
  }
  return sessions;
}

/** Every session of a recording, boot sessions included, in the order of its files. */
export async function readSessions(folder: string): Promise<Session[]> {
  return (await readRaw(folder)).map(session);
}

/** The sessions of requests, by time. */
export async function requestSessions(folder: string): Promise<Session[]> {
  const sessions = (await readSessions(folder)).filter(({ boot }) => !boot);
  return sessions.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** What the manifest says. */
export async function readManifest(folder: string): Promise<Raw> {
  return JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as Raw;
}

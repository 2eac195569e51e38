/** The manifest of a recording: `manifest.json`, written whole and by rename. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeSystemError, errorCode, KoalaError } from '../errors.ts';

/** The newest format that this koala reads and the one that it writes. */
export const FORMAT_VERSION = 1;
const MANIFEST = 'manifest.json';

/** What a recording says about itself. Readers read every session file, whatever it says. */
export interface Manifest {
  FormatVersion: number;
  KoalaVersion: string;
  Command: string[];
  Host: string;
  StartedAt: string;
  /** Null while it is being recorded, and where the recorder was killed. */
  FinishedAt: string | null;
  Sessions: number;
  Events: number;
  Lost: { Events: number; Bytes: number };
  /** Sessions given up at their first byte: the event log was short of room, or the sample left them out. */
  NotAdmitted: number;
  NotSampled: number;
  /** Connections on which bytes crossed that the recording does not have; sessions that used them are incomplete. */
  Gaps: number;
  /** Programs that the program has executed and that are not recorded. */
  NotCovered: NotCovered[];
  /** What was removed again, to keep within the room that the recording was given; `Sessions` is without it. */
  Removed: { Files: number; Bytes: number; Sessions: number };
  Files: string[];
}

/** A program that is not recorded, though the recorded program has executed it. */
export interface NotCovered {
  /** The path of its file. */
  Program: string;
  /** Why. */
  Reason: string;
}

/** Reads the manifest of `directory`; a `KoalaError` says why it is not a recording. */
export async function readManifest(directory: string): Promise<Manifest> {
  let content: string;
  try {
    content = await readFile(join(directory, MANIFEST), 'utf8');
  } catch (error) {
    throw await notARecording(directory, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    throw new KoalaError(`${directory}: ${MANIFEST} is damaged: it is not JSON`);
  }
  return checkManifest(directory, value);
}

async function notARecording(directory: string, error: unknown): Promise<KoalaError> {
  const code = errorCode(error);
  if (code === 'ENOTDIR') return new KoalaError(`${directory} is not a recording: it is not a directory`);
  if (code !== 'ENOENT') return new KoalaError(`${directory} cannot be read: ${describeSystemError(error)}`);
  const exists = await readFile(directory).then(
    () => true,
    (problem: unknown) => errorCode(problem) !== 'ENOENT',
  );
  return new KoalaError(
    exists ? `${directory} is not a recording: it has no ${MANIFEST}` : `${directory} does not exist`,
  );
}

function checkManifest(directory: string, value: unknown): Manifest {
  const from: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {};
  const version = from['FormatVersion'];
  if (typeof version !== 'number') {
    throw new KoalaError(`${directory} is not a recording: its ${MANIFEST} has no FormatVersion`);
  }
  if (version > FORMAT_VERSION) {
    throw new KoalaError(
      `${directory} has recording format ${version}; this koala reads up to ${FORMAT_VERSION}: use a newer koala`,
    );
  }
  const lost = members(from['Lost']);
  const removed = members(from['Removed']);
  return {
    FormatVersion: version,
    KoalaVersion: string(from['KoalaVersion']),
    Command: strings(from['Command']),
    Host: string(from['Host']),
    StartedAt: string(from['StartedAt']),
    FinishedAt: typeof from['FinishedAt'] === 'string' ? from['FinishedAt'] : null,
    Sessions: number(from['Sessions']),
    Events: number(from['Events']),
    Lost: { Events: number(lost['Events']), Bytes: number(lost['Bytes']) },
    NotAdmitted: number(from['NotAdmitted']),
    NotSampled: number(from['NotSampled']),
    Gaps: number(from['Gaps']),
    NotCovered: readNotCovered(from['NotCovered']),
    Removed: {
      Files: number(removed['Files']),
      Bytes: number(removed['Bytes']),
      Sessions: number(removed['Sessions']),
    },
    Files: strings(from['Files']),
  };
}

/** Reads what a manifest, or the agent, says of programs that are not recorded. */
export function readNotCovered(value: unknown): NotCovered[] {
  const items: unknown[] = Array.isArray(value) ? value : [];
  return items.map((item) => {
    const one = members(item);
    return { Program: string(one['Program']), Reason: string(one['Reason']) };
  });
}

/** Replaces the manifest of `directory` in one step. */
export async function writeManifest(directory: string, manifest: Manifest): Promise<void> {
  const temporary = join(directory, `.${MANIFEST}.${process.pid}`);
  await writeFile(temporary, `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, join(directory, MANIFEST));
}

const members = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? { ...value } : {};
const string = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
const strings = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];

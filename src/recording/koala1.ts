/** koala 1.x JSON, one file a session: import into a recording, export from one. The Rust core translates. */
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describeSystemError, errorMessage, KoalaError } from '../errors.ts';
import { loadNative } from '../native/native.ts';
import { koalaVersion } from '../native/version.ts';
import { decodeSession } from './codec.ts';
import { makeRecordingDirectory } from './directory.ts';
import { FORMAT_VERSION, readManifest, writeManifest, type Manifest } from './manifest.ts';
import { SESSION_FILE, type RecordedSession, type Recording } from './recording.ts';

/** One session as koala 1.x JSON. */
export async function toKoala1(recorded: RecordedSession): Promise<string> {
  const native = await loadNative();
  return native.sessionToKoala1Json(recorded.bytes);
}

/** Writes each wanted session into `to` as a file named by its id; gives how many. */
export async function exportSessions(
  recording: Recording,
  to: string,
  wanted: ReadonlySet<string> | undefined,
): Promise<number> {
  await makeRecordingDirectory(to);
  let count = 0;
  for await (const recorded of recording.sessions()) {
    const id = recorded.session.SessionId;
    if (wanted !== undefined && !wanted.has(id)) continue;
    if (!/^[\w.:-]+$/.test(id) || id.startsWith('.')) {
      throw new KoalaError(`session id ${JSON.stringify(id)} cannot be a file name`);
    }
    await writeFile(join(to, id), await toKoala1(recorded), { mode: 0o600 });
    count += 1;
  }
  return count;
}

/** Adds koala 1.x sessions (files, or directories of them) to the recording in `directory`, made if missing. */
export async function importSessions(directory: string, paths: readonly string[]): Promise<number> {
  const native = await loadNative();
  const sources = await listSources(paths);
  // All are translated before anything is written: a bad file leaves the recording as it was.
  const items: Uint8Array[] = [];
  for (const path of sources) {
    const content = await readFile(path).catch((error: unknown) => {
      throw new KoalaError(`${path} cannot be read: ${describeSystemError(error)}`);
    });
    try {
      items.push(native.sessionFromKoala1Json(content));
    } catch (error) {
      throw new KoalaError(`${path} is not a koala 1.x session: ${errorMessage(error)}`);
    }
  }
  if (items.length === 0) throw new KoalaError(`no session files in ${paths.join(', ')}`);
  await append(directory, items);
  return items.length;
}

async function listSources(paths: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((error: unknown) => {
      throw new KoalaError(`${path} cannot be read: ${describeSystemError(error)}`);
    });
    if (!info.isDirectory()) {
      files.push(path);
      continue;
    }
    const entries = await readdir(path, { withFileTypes: true });
    // koala 1.x names files by session id, which begins with the time; a README beside them is none.
    const names = entries
      .filter((entry) => entry.isFile() && /^\d/.test(entry.name))
      .map((entry) => entry.name);
    files.push(...names.sort().map((name) => join(path, name)));
  }
  return files;
}

async function append(directory: string, items: readonly Uint8Array[]): Promise<void> {
  await makeRecordingDirectory(directory);
  const now = new Date().toISOString();
  const previous = await readManifest(directory).catch(async (error: unknown) => {
    const names = await readdir(directory);
    if (names.length > 0) throw error;
    return undefined;
  });
  const manifest: Manifest = previous ?? {
    FormatVersion: FORMAT_VERSION,
    KoalaVersion: koalaVersion(),
    Command: [],
    Host: hostname(),
    StartedAt: now,
    FinishedAt: now,
    Sessions: 0,
    Events: 0,
    Lost: { Events: 0, Bytes: 0 },
    NotAdmitted: 0,
    NotSampled: 0,
    Gaps: 0,
    NotCovered: [],
    Removed: { Files: 0, Bytes: 0, Sessions: 0 },
    Files: [],
  };
  // As the agent names its files: by the time, in as many digits as it can have, so that names sort by it.
  const startedAt = String(BigInt(Date.now()) * 1_000_000n).padStart(20, '0');
  const file = `sessions-${startedAt}-${process.pid}${SESSION_FILE}`;
  const handle = await open(join(directory, file), 'ax', 0o600);
  try {
    for (const item of items) await handle.writeFile(item);
    await handle.sync();
  } finally {
    await handle.close();
  }
  manifest.Sessions += items.filter((item) => decodeSession(item).CallFromInbound !== null).length;
  manifest.Files.push(file);
  await writeManifest(directory, manifest);
}

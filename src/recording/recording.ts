/** Reading a recording: its manifest and, one after another, its sessions. */
import { closeSync, openSync, readSync } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { describeSystemError, KoalaError } from '../errors.ts';
import { decodeSession, SessionFormatError } from './codec.ts';
import { readManifest, type Manifest } from './manifest.ts';
import type { Session } from './model.ts';
import { itemEnd, looksLikeSession, MalformedItemError } from './sequence.ts';
import { fileState, readIndex, writeIndex, type FileState, type SessionIndex } from './session-index.ts';
import { summarize, type SessionSummary } from './summary.ts';

/** How a session file's name ends. */
export const SESSION_FILE = '.cborseq';
const FIRST_READ = 1 << 18;

/** A session, the bytes that it was read from and where they are. */
export interface RecordedSession {
  session: Session;
  bytes: Uint8Array;
  place: Place;
}

/** Where a session stands. */
export interface Place {
  file: string;
  offset: number;
  length: number;
}

/** A session in a line, and where the whole of it is. */
export interface SummarizedSession {
  summary: SessionSummary;
  place: Place;
}

/** A torn last item of a session file: it was skipped. */
export interface TornItem {
  path: string;
  offset: number;
  bytes: number;
  /** The recording was finished after this file was written, so that it was cut later. */
  afterFinish: boolean;
}

/** A recording, opened. */
export class Recording {
  readonly directory: string;
  readonly manifest: Manifest;
  /** The session files, oldest first. */
  readonly files: readonly string[];
  /** The torn items met so far, by reading. */
  readonly torn: TornItem[] = [];

  private constructor(directory: string, manifest: Manifest, files: readonly string[]) {
    this.directory = directory;
    this.manifest = manifest;
    this.files = files;
  }

  /** Opens the recording in `directory`; a `KoalaError` says why it is none. */
  static async open(directory: string): Promise<Recording> {
    const manifest = await readManifest(directory);
    const names = await readdir(directory);
    const files = names.filter((name) => name.endsWith(SESSION_FILE)).sort();
    const missing = manifest.Files.filter((name) => !files.includes(name));
    if (missing.length > 0) {
      throw new KoalaError(
        `${directory} is incomplete: ${missing.join(', ')} is in its manifest, but not there`,
      );
    }
    return new Recording(directory, manifest, files);
  }

  /** Every session, in the order in which they were completed. A torn last item is noted in `torn`. */
  async *sessions(): AsyncGenerator<RecordedSession> {
    this.torn.length = 0;
    let requests = 0;
    for (const file of this.files) {
      for await (const recorded of this.#fileSessions(file)) {
        if (recorded.session.CallFromInbound !== null) requests += 1;
        yield recorded;
      }
    }
    this.#checkCount(requests);
  }

  /**
   * The line of every session in a list, in the order of `sessions()`, and where the session is. Read from the index of
   * each file, which is made where there is none that can be used; not of a file that may still be written to.
   */
  async *summaries(): AsyncGenerator<SummarizedSession> {
    this.torn.length = 0;
    let requests = 0;
    for (const file of this.files) {
      const path = join(this.directory, file);
      const state = await fileState(path);
      const index = (state && (await readIndex(path, state))) ?? (await this.#makeIndex(file, path, state));
      requests += index.requests;
      if (state !== undefined && index.end < state.size)
        this.#noteTorn(file, index.end, state.size - index.end);
      for (const { offset, length, summary } of index.sessions)
        yield { summary, place: { file, offset, length } };
    }
    this.#checkCount(requests);
  }

  async #makeIndex(file: string, path: string, state: FileState | undefined): Promise<SessionIndex> {
    const index: SessionIndex = { sessions: [], requests: 0, end: 0 };
    const torn = this.torn.length;
    for await (const { session, place } of this.#fileSessions(file)) {
      if (session.CallFromInbound !== null) index.requests += 1;
      const { offset, length } = place;
      index.sessions.push({ offset, length, summary: summarize(session) });
      index.end = offset + length;
    }
    // The caller notes it for an index that was read as well.
    this.torn.length = torn;
    const grows = this.manifest.FinishedAt === null && file === this.files.at(-1);
    if (state !== undefined && !grows) await writeIndex(path, state, index);
    return index;
  }

  /** The session at `place`, which a walk over `sessions()` gave. */
  async read(place: Place): Promise<RecordedSession> {
    const path = join(this.directory, place.file);
    const bytes = new Uint8Array(place.length);
    let bytesRead: number;
    try {
      // Synchronously: a replay waits for it anyway, and it takes a tenth of the time.
      const file = openSync(path, 'r');
      try {
        bytesRead = readSync(file, bytes, 0, place.length, place.offset);
      } finally {
        closeSync(file);
      }
    } catch (error) {
      throw new KoalaError(`${path} cannot be read: ${describeSystemError(error)}`);
    }
    if (bytesRead < place.length)
      throw this.#damaged(place.file, place.offset, 'it was cut while it was read');
    return { session: this.#decode(place.file, place.offset, bytes), bytes, place };
  }

  /** The session whose id is `id` or, where only one begins so, begins with `id`. */
  async find(id: string): Promise<RecordedSession> {
    const found: SummarizedSession[] = [];
    for await (const candidate of this.summaries()) {
      const { SessionId } = candidate.summary;
      if (SessionId === id) return this.read(candidate.place);
      if (SessionId.startsWith(id)) found.push(candidate);
    }
    const [first, second] = found;
    if (first === undefined || id === '') {
      throw new KoalaError(
        `${this.directory} has no session ${id}: see koala sessions list ${this.directory}`,
      );
    }
    if (second !== undefined) {
      throw new KoalaError(
        `${found.length} sessions of ${this.directory} begin with ${id}: give more of the id`,
      );
    }
    return this.read(first.place);
  }

  /** A file that was cut between two sessions looks whole. */
  #checkCount(requests: number): void {
    const { FinishedAt, Sessions } = this.manifest;
    if (FinishedAt === null || requests >= Sessions || this.torn.some(({ afterFinish }) => afterFinish))
      return;
    throw new KoalaError(
      `${this.directory} has ${requests} of the ${Sessions} sessions that its manifest counts: a file of it was cut after the recording was finished`,
    );
  }

  async *#fileSessions(file: string): AsyncGenerator<RecordedSession> {
    const handle = await this.#open(file);
    try {
      let base = 0;
      let buffer: Uint8Array = new Uint8Array();
      let wanted = FIRST_READ;
      for (;;) {
        const chunk = new Uint8Array(wanted);
        const { bytesRead } = await handle.read(chunk, 0, wanted, base + buffer.length);
        const atEnd = bytesRead === 0;
        buffer = concat(buffer, chunk.subarray(0, bytesRead));
        let offset = 0;
        for (;;) {
          const end = this.#itemEnd(file, base, buffer, offset);
          if (end === undefined) break;
          const bytes = buffer.subarray(offset, end);
          const session = this.#decode(file, base + offset, bytes);
          yield { session, bytes, place: { file, offset: base + offset, length: end - offset } };
          offset = end;
        }
        buffer = buffer.subarray(offset);
        base += offset;
        if (atEnd) break;
        // An item larger than the buffer: read ever more at a time, so that its walk is not repeated too often.
        wanted = offset === 0 ? Math.max(FIRST_READ, buffer.length) : FIRST_READ;
      }
      if (buffer.length > 0) this.#noteTorn(file, base, buffer.length);
    } finally {
      await handle.close();
    }
  }

  #noteTorn(file: string, offset: number, bytes: number): void {
    const afterFinish = file === this.files.at(-1) && this.manifest.FinishedAt !== null;
    this.torn.push({ path: join(this.directory, file), offset, bytes, afterFinish });
  }

  /** The end of the item at `offset`, or undefined where it is not all there. */
  #itemEnd(file: string, base: number, buffer: Uint8Array, offset: number): number | undefined {
    if (offset >= buffer.length) return undefined;
    if (!looksLikeSession(buffer, offset)) {
      // After a power loss, a file system may leave zeros where the last write should be.
      if (base + offset > 0 && buffer.subarray(offset).every((byte) => byte === 0)) return undefined;
      const what = base + offset === 0 ? 'it is not a file of sessions' : 'what follows is not a session';
      throw this.#damaged(file, base + offset, what);
    }
    try {
      return itemEnd(buffer, offset);
    } catch (error) {
      if (error instanceof MalformedItemError)
        throw this.#damaged(file, base + error.offset, 'malformed CBOR');
      throw error;
    }
  }

  #decode(file: string, offset: number, bytes: Uint8Array): Session {
    try {
      return decodeSession(bytes);
    } catch (error) {
      if (error instanceof SessionFormatError) throw this.#damaged(file, offset, error.message);
      throw error;
    }
  }

  #damaged(file: string, offset: number, what: string): KoalaError {
    return new KoalaError(`${join(this.directory, file)} is damaged at byte ${offset}: ${what}`);
  }

  async #open(file: string): Promise<FileHandle> {
    const path = join(this.directory, file);
    const cannot = (what: string): KoalaError => new KoalaError(`${path} cannot be read: ${what}`);
    const handle = await open(path).catch((error: unknown) => {
      throw cannot(describeSystemError(error));
    });
    // A directory can be opened, but not read.
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw cannot('it is not a file');
  }
}

/** What to tell a user about a torn item. */
export function describeTorn(torn: TornItem): string {
  const where = `${torn.path} ends within a session (byte ${torn.offset}, ${torn.bytes} bytes of it are there)`;
  return torn.afterFinish
    ? `${where}: it was truncated after the recording was finished`
    : `${where}: the recorder was interrupted; 1 session was skipped`;
}

function concat(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length === 0) return right;
  if (right.length === 0) return left;
  const joined = new Uint8Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}

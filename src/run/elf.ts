/**
 * What the head of an ELF executable says of how it will be loaded (elf(5), System V ABI): nothing is run for it.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { KoalaError } from '../errors.ts';

const HEADER = 64;
const PROGRAM_HEADER = 56;
/** No table of an executable that anybody runs is larger. */
const MOST = 4 << 20;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_NOTE = 4;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_STRSZ = 10n;
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** An executable or shared object. */
export interface Elf {
  /** Whether it is built for the processor (and word size) that we run on. */
  native: boolean;
  /** The dynamic loader that it asks for; undefined where it is statically linked. */
  interpreter: string | undefined;
  /** The shared objects that it names itself: `libc.so.6`. */
  needed: readonly string[];
  /** It was built by Go's own toolchain, whose runtime makes its system calls itself. */
  go: boolean;
  /** It has the runtime of a sanitizer linked in, or names it in `needed`. */
  sanitized: boolean;
}

interface Segment {
  type: number;
  offset: number;
  address: bigint;
  size: number;
}

/**
 * Reads the ELF file at `path`; undefined where it is none, or may not be read. A `KoalaError` says where it is
 * truncated.
 */
export async function readElf(path: string): Promise<Elf | undefined> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const header = await read(file, 0, HEADER);
    if (!header.subarray(0, 4).equals(Buffer.from('\u007fELF', 'latin1'))) return undefined;
    const native =
      header[4] === 2 &&
      header[5] === 1 &&
      header.length >= 20 &&
      header.readUInt16LE(18) === MACHINES[process.arch];
    const nothing = { interpreter: undefined, needed: [], go: false, sanitized: false };
    if (!native) return { native, ...nothing };
    if (header.length < HEADER) throw new KoalaError(`${path} cannot be run: it is truncated`);
    return { native, ...(await describe(file, await segmentsOf(file, header))) };
  } finally {
    await file.close();
  }
}

async function describe(file: FileHandle, segments: readonly Segment[]): Promise<Omit<Elf, 'native'>> {
  const interp = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  const [needed, names] = dynamic === undefined ? [[], ''] : await readDynamic(file, dynamic, segments);
  let go = false;
  for (const note of segments.filter(({ type }) => type === PT_NOTE)) {
    // Go's build id: a note of the name "Go" and type 4 (cmd/internal/buildid).
    const content = await read(file, note.offset, note.size);
    go ||= content.includes(Buffer.from('\u0004\0\0\0Go\0\0', 'latin1'));
  }
  return {
    interpreter: interp === undefined ? undefined : text(await read(file, interp.offset, interp.size), 0),
    needed,
    go,
    sanitized: needed.some(isSanitizer) || /\0__(?:a|t|m|hwa)san_init\0/.test(names),
  };
}

/** Whether a shared object is the runtime of a sanitizer, which must come first among what is preloaded. */
export function isSanitizer(path: string): boolean {
  return /(?:^|\/)lib(?:clang_rt\.)?(?:a|t|m|l|hwa)san\b[^/]*$/.test(path);
}

async function segmentsOf(file: FileHandle, header: Buffer): Promise<Segment[]> {
  const [offset, size, count] = [
    Number(header.readBigUInt64LE(32)),
    header.readUInt16LE(54),
    header.readUInt16LE(56),
  ];
  if (size < PROGRAM_HEADER) return [];
  const table = await read(file, offset, size * count);
  const segments: Segment[] = [];
  for (let at = 0; at + PROGRAM_HEADER <= table.length; at += size) {
    segments.push({
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: table.readBigUInt64LE(at + 16),
      size: Number(table.readBigUInt64LE(at + 32)),
    });
  }
  return segments;
}

/** The names of the shared objects that it needs, and all names of its dynamic symbols. */
async function readDynamic(
  file: FileHandle,
  dynamic: Segment,
  segments: readonly Segment[],
): Promise<[string[], string]> {
  const table = await read(file, dynamic.offset, dynamic.size);
  const entries: [bigint, bigint][] = [];
  for (let at = 0; at + 16 <= table.length; at += 16) {
    entries.push([table.readBigUInt64LE(at), table.readBigUInt64LE(at + 8)]);
  }
  const value = (tag: bigint): bigint | undefined => entries.find(([name]) => name === tag)?.[1];
  const [address, size] = [value(DT_STRTAB), value(DT_STRSZ)];
  if (address === undefined || size === undefined) return [[], ''];
  const home = segments.find(
    (segment) =>
      segment.type === PT_LOAD &&
      address >= segment.address &&
      address < segment.address + BigInt(segment.size),
  );
  if (home === undefined) return [[], ''];
  const names = await read(file, home.offset + Number(address - home.address), Number(size));
  const needed = entries.filter(([tag]) => tag === DT_NEEDED).map(([, at]) => text(names, Number(at)));
  return [needed, names.toString('latin1')];
}

/** The text at `at`, up to its zero byte. */
function text(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.subarray(at, end < 0 ? undefined : end).toString();
}

/** Bytes of the file; fewer where it ends before. */
async function read(file: FileHandle, offset: number, size: number): Promise<Buffer> {
  if (!Number.isSafeInteger(offset) || size <= 0) return Buffer.alloc(0);
  const buffer = Buffer.alloc(Math.min(size, MOST));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
  return buffer.subarray(0, bytesRead);
}

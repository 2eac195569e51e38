/**
 * What differs because it is another moment: a time that is as far from now as it was from then, and an id that the program
 * has made up. Both are told by where they come from, not by how they look alone.
 */
import { asLatin1 } from '../protocols/bytes.ts';
import { outboundCalls, type Session } from '../recording/model.ts';

/** How far two times may be from being equally far from the moments at which they were said, in milliseconds. */
const TOLERANCE = 10_000;

const CLOCK = String.raw`\d\d:\d\d:\d\d(?:[.,]\d{1,9})?`;
const MONTH = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)';
/**
 * Times as ISO 8601 and SQL (1) and HTTP (2) write them, seconds since 1970 or parts of them (3), the time before a
 * signature, in base 62 or 64 (4), signatures in base 64 (5), ids (6).
 */
const PARTS = new RegExp(
  [
    String.raw`(\b\d{4}-\d\d-\d\d[T ]${CLOCK}(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?)`,
    String.raw`(\b[A-Z][a-z]{2}, \d\d[ -]${MONTH}[ -]\d{4} \d\d:\d\d:\d\d GMT)`,
    String.raw`((?<![\w.-])[12]\d{9}(?:\d{3}|\d{6}|\d{9}|\.\d+)?(?![\w.]))`,
    String.raw`((?<=[:.])(?=\w*[A-Z\d])[0-9a-zA-Z]{6}(?=[:.][\w-]{27,}))`,
    String.raw`((?<=[:.])[0-9a-zA-Z+/]{27,}={0,2}(?![\w+/=-]))`,
    String.raw`(\b[\da-fA-F]{8}-(?:[\da-fA-F]{4}-){3}[\da-fA-F]{12}\b|(?<![\w/+-])[\w-]{20,}(?![\w/+-]))`,
  ].join('|'),
  'g',
);

/** Two messages that correspond: of the recording, and of the replay. */
export interface Said {
  session: Session;
  /** When it was said, in nanoseconds since 1970. */
  at: bigint;
  /** Only what came before this action can be where a value is from. */
  before?: number;
}

/** Whether two texts are the same but for what is of the moment. They are not if they are equal. */
export function isOfTheMoment(recorded: string, replayed: string, then: Said, now: Said): boolean {
  const [left, right] = [split(unescaped(recorded)), split(unescaped(replayed))];
  if (recorded === replayed || left.texts.join('\0') !== right.texts.join('\0')) return false;
  return left.parts.every((part, at) => {
    const other = right.parts[at];
    if (other === undefined || part.kind !== other.kind) return false;
    if (part.text === other.text) return true;
    if (part.time !== undefined && other.time !== undefined) {
      const passed = part.time - milliseconds(then.at);
      return Math.abs(passed - (other.time - milliseconds(now.at))) <= TOLERANCE;
    }
    if (part.text.length !== other.text.length) return false;
    if (part.kind === 'signed time') {
      const [signature, another] = [left.parts[at + 1]?.text ?? '', right.parts[at + 1]?.text ?? ''];
      return signature !== another && [signature, another].every(isSignature);
    }
    // A digest tells of what it was made of: another one needs another moment or id before it, in the same text.
    const before = left.parts[at - 1];
    if (before !== undefined && left.texts[at]?.length === 1 && before.text !== right.parts[at - 1]?.text)
      return isDigest(part.text) && isDigest(other.text);
    return isMadeUp(part.text, then) && isMadeUp(other.text, now);
  });
}

interface Part {
  text: string;
  /** A signed time stands before a signature; only its maker can read it. */
  kind: 'time' | 'signed time' | 'word';
  /** In milliseconds since 1970. */
  time: number | undefined;
}

/** As in a cookie or a query. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The times and ids in a text, and what is between them. */
function split(text: string): { parts: Part[]; texts: string[] } {
  const parts: Part[] = [];
  const texts: string[] = [];
  let end = 0;
  for (const found of text.matchAll(PARTS)) {
    const [whole, iso, http, seconds, signedTime] = found;
    const time = timeOf(iso, http, seconds);
    const word = signedTime === undefined ? 'word' : 'signed time';
    texts.push(text.slice(end, found.index));
    parts.push({ text: whole, kind: time === undefined ? word : 'time', time });
    end = found.index + whole.length;
  }
  texts.push(text.slice(end));
  return { parts, texts };
}

function timeOf(
  iso: string | undefined,
  http: string | undefined,
  seconds: string | undefined,
): number | undefined {
  if (iso !== undefined) {
    const [, day = '', clock = '', zone = 'Z'] = /^(.{10}).([\d:.,]+) ?(.*)$/.exec(iso) ?? [];
    // Without a zone it is in one that is the same for both.
    const offset = /^[+-]\d\d$/.test(zone) ? `${zone}:00` : zone.replace(/^([+-]\d\d)(\d\d)$/, '$1:$2');
    const [whole, fraction = ''] = clock.split(/[.,]/);
    return Date.parse(
      `${day}T${whole}.${fraction.slice(0, 3).padEnd(3, '0')}${offset === '' ? 'Z' : offset}`,
    );
  }
  if (http !== undefined) return Date.parse(http.replaceAll('-', ' '));
  if (seconds === undefined) return undefined;
  if (seconds.includes('.')) return Number(seconds) * 1000;
  return Number(seconds) / 10 ** (seconds.length - 13);
}

const milliseconds = (nanoseconds: bigint): number => Number(nanoseconds / 1_000_000n);

/** The lengths of digests from MD5 to SHA-512 in base 64, with and without what fills them up, and in hex. */
const DIGESTS: ReadonlySet<number> = new Set([22, 24, 27, 28, 38, 40, 43, 44, 64, 86, 88]);
const HEX_DIGESTS: ReadonlySet<number> = new Set([32, 40, 56, 64, 96, 128]);

/** A digest that signs, in base 64: in hex it is a key as often as not. */
function isSignature(word: string): boolean {
  return isDigest(word) && /[A-Z]/.test(word) && /[g-z]/.test(word);
}

function isDigest(word: string): boolean {
  return (/^[0-9a-f]+$/i.test(word) ? HEX_DIGESTS : DIGESTS).has(word.length);
}

/**
 * Whether a word was drawn at random by the program: nobody has told it the word before it said so, and it is neither
 * made of something else (a digest, or a UUID of versions 3 and 5) nor says something itself (JSON in base 64, long data).
 */
function isMadeUp(word: string, { session, before }: Said): boolean {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])/i.exec(word)?.[1];
  const random =
    uuid === undefined
      ? word.length <= 36 && !isDigest(word) && !/^[0-9a-f]+$|^e[yJ]|[+/=]/i.test(word)
      : /[1467]/.test(uuid);
  const digits = word.replaceAll(/\D/g, '').length;
  const letters = word.replaceAll(/[^a-z]/gi, '').length;
  if (!random || digits < 3 || letters < 3) return false;
  const knows = (bytes: Uint8Array | undefined): boolean =>
    bytes !== undefined && asLatin1(bytes).includes(word);
  if (knows(session.CallFromInbound?.Request)) return false;
  return outboundCalls(session)
    .filter(({ ActionIndex }) => before === undefined || ActionIndex < before)
    .every(({ Response }) => !knows(Response));
}

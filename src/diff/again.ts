/**
 * What a program draws at random each time: where a session that is replayed once more gives another word again, that word
 * says nothing of the program's answer. A digest of what it answers, or a key that it was told, is the same both times.
 */
import type { Session } from '../recording/model.ts';
import { compareSessions, type CompareOptions, type Comparison } from './session.ts';

/** What nobody reads: long words in hex, or of letters and digits. What begins as JSON does in base 64 says something. */
const OPAQUE =
  /^(?!e[yJ])(?:[\da-f]{16,128}|[\dA-F]{16,128}|(?=(?:[\w-]*\d){3})(?=[\w-]*[a-zA-Z])[\w-]{20,128})$/;

/** Whether a replay differs from its recording in nothing but words that may have been drawn at random. */
export function mayBeDrawn(recorded: Session, replayed: Session, options: CompareOptions): boolean {
  const { words, differences } = drawn(recorded, replayed, options);
  return words.size > 0 && differences === 0;
}

/** As `compareSessions`, where words that are others `again`, in a second replay, are of the moment. */
export function compareTwice(
  recorded: Session,
  replayed: Session,
  again: Session,
  options: CompareOptions,
): Comparison {
  const { words } = drawn(recorded, again, options);
  const comparison = compareSessions(recorded, replayed, {
    ...options,
    isRedrawn: (place, before, after) => {
      const second = words.get(place);
      return second !== undefined && second !== before && second !== after && areOpaque(before, after);
    },
  });
  comparison.Notes.push('it was replayed twice: words that were others again are of the moment');
  return comparison;
}

/** The words of a replay that may have been drawn, by their places, and how much differs besides. */
function drawn(
  recorded: Session,
  replayed: Session,
  options: CompareOptions,
): { words: Map<string, string>; differences: number } {
  const words = new Map<string, string>();
  const { Differences } = compareSessions(recorded, replayed, {
    ...options,
    isRedrawn: (place, before, after) => {
      if (!areOpaque(before, after)) return false;
      words.set(place, after);
      return true;
    },
  });
  return { words, differences: Differences.length };
}

function areOpaque(word: string, other: string): boolean {
  return word.length === other.length && OPAQUE.test(word) && OPAQUE.test(other);
}

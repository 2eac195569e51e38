/**
 * What a program draws at random each time: where a session that is replayed once more gives another word again, that word
 * says nothing of the program's answer. A digest of what it answers, or a key that it was told, is the same both times.
 */
import type { Session } from '../recording/model.ts';
import { compareSessions, type CompareOptions, type Comparison } from './session.ts';

/**
 * What nobody reads: long words in hex, or of letters and digits in both cases. What begins as JSON does in base 64 says
 * something.
 */
const OPAQUE =
  /^(?!e[yJ])(?:[\da-f]{16,128}|[\dA-F]{16,128}|(?=[\w-]*[a-zA-Z])(?=(?:[\w-]*\d){3}|[\w-]*[a-z\d][A-Z])[\w-]{20,128})$/;

/** Whether a replay differs from its recording in words that may have been drawn at random. */
export function mayBeDrawn(recorded: Session, replayed: Session, options: CompareOptions): boolean {
  return drawnWords(recorded, replayed, options).size > 0;
}

/** As `compareSessions`, where words that are others `again`, in a second replay, are of the moment. */
export function compareTwice(
  recorded: Session,
  replayed: Session,
  again: Session,
  options: CompareOptions,
): Comparison {
  const words = drawnWords(recorded, again, options);
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

/** The words of a replay that may have been drawn, by their places. */
function drawnWords(recorded: Session, replayed: Session, options: CompareOptions): Map<string, string> {
  const words = new Map<string, string>();
  compareSessions(recorded, replayed, {
    ...options,
    isRedrawn: (place, before, after) => {
      if (!areOpaque(before, after)) return false;
      words.set(place, after);
      return true;
    },
  });
  return words;
}

function areOpaque(word: string, other: string): boolean {
  return word.length === other.length && OPAQUE.test(word) && OPAQUE.test(other);
}

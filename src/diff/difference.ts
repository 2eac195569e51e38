/** What a difference is. */

/** What kind of thing differs. */
export type DifferenceKind =
  | 'response-missing'
  | 'status'
  | 'header'
  | 'body'
  | 'bytes'
  | 'call-missing'
  | 'call-extra'
  | 'call-changed'
  | 'call-error'
  | 'append'
  | 'datagram-missing'
  | 'datagram-extra'
  | 'datagram-changed'
  | 'name';

/** One difference between a recorded session and its replay. */
export interface Difference {
  Kind: DifferenceKind;
  /** Where: `response.status`, `response.body.items[0].price`, `calls[2].request.headers.accept`. */
  Path: string;
  /** What was recorded, as text; null where there was nothing. */
  Recorded: string | null;
  /** What the replay gave; null where there was nothing. */
  Replayed: string | null;
  /** The difference in one line. */
  Text: string;
  /** More about it, a line each: what differs from the nearest call, why nothing matched. */
  Details: string[];
  /** How the matcher came to its decision, a line each: for who asks. */
  Scores: string[];
}

/** A difference of two values at a path. */
export function valueDifference(
  kind: DifferenceKind,
  path: string,
  recorded: string | null,
  replayed: string | null,
): Difference {
  return {
    Kind: kind,
    Path: path,
    Recorded: recorded,
    Replayed: replayed,
    Text: `${path}: recorded ${recorded ?? 'nothing'}, replayed ${replayed ?? 'nothing'}`,
    Details: [],
    Scores: [],
  };
}

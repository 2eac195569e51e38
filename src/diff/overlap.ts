/**
 * Sessions that overlapped in one execution context: nothing told which request a call was for, so that it may be
 * recorded with another session of the group than the one that makes it now. Which is which does not matter; that
 * each recorded call is made once does.
 */
import { outboundCalls, type CallOutbound, type Session } from '../recording/model.ts';
import { History } from './history.ts';

/** Names a recorded call of a session. */
export function callKey(sessionId: string, actionIndex: number): string {
  return `${sessionId}#${actionIndex}`;
}

/** What became of the calls of an overlap group. */
export interface Shares {
  /** The recorded sessions of the group, by id. */
  members: Set<string>;
  /** Recorded calls that another session than theirs has made, as `callKey` gives them. */
  answeredElsewhere: Set<string>;
  /** Calls of the replays for which no recorded call of the group is left. */
  tooMany: Set<CallOutbound>;
}

/**
 * Shares the recorded calls of one overlap group out among the replays of its sessions. `history` knows what was prepared
 * on the connections of the recording.
 */
export function shareOut(
  group: readonly { recorded: Session; replayed: Session }[],
  history: History = new History(),
): Shares {
  const questions = new Map<string, string>();
  for (const { recorded } of group) {
    for (const call of outboundCalls(recorded))
      questions.set(callKey(recorded.SessionId, call.ActionIndex), history.question(call));
  }
  const left = new Map(questions);
  const foreign: { call: CallOutbound; key: string }[] = [];
  for (const { recorded, replayed } of group) {
    for (const call of outboundCalls(replayed)) {
      const { Matched } = call;
      if (Matched === null || Matched.ActionIndex < 0) continue;
      const own = Matched.SessionId === '' || Matched.SessionId === recorded.SessionId;
      if (own) left.delete(callKey(recorded.SessionId, Matched.ActionIndex));
      else foreign.push({ call, key: callKey(Matched.SessionId, Matched.ActionIndex) });
    }
  }
  const members = new Set(group.map(({ recorded }) => recorded.SessionId));
  const shares: Shares = { members, answeredElsewhere: new Set(), tooMany: new Set() };
  for (const { call, key } of foreign) {
    // What answered it may have been taken by its own session, and an equal one be left.
    const taken = left.has(key) ? key : keyOf(left, questions.get(key));
    if (taken !== undefined) {
      left.delete(taken);
      shares.answeredElsewhere.add(taken);
    } else if (members.has(call.Matched?.SessionId ?? '')) shares.tooMany.add(call);
  }
  return shares;
}

function keyOf(left: ReadonlyMap<string, string>, wanted: string | undefined): string | undefined {
  for (const [key, asked] of left) if (asked === wanted) return key;
  return undefined;
}

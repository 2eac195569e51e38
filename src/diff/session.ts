/** A recorded session against its replay: the response, every outbound call, and what else it did. */
import { clip } from '../protocols/bytes.ts';
import { describeCall, protocolOf } from '../protocols/describe.ts';
import { parseHttpRequest } from '../protocols/http.ts';
import { isRedisConnectionCommand, parseRedisCommands } from '../protocols/redis.ts';
import { purposeOf } from '../protocols/sql.ts';
import { outboundCalls, type CallOutbound, type Session } from '../recording/model.ts';
import { compareDeeds } from './deeds.ts';
import { valueDifference, type Difference } from './difference.ts';
import { runnerUpLine, scoreLines } from './explain.ts';
import { compareRequests, compareResponses } from './message.ts';
import { isOfTheMoment, type Said } from './moment.ts';
import { noiseOf, type Noise } from './noise.ts';
import type { History } from './history.ts';
import { callKey, type Shares } from './overlap.ts';

/** How to compare. */
export interface CompareOptions {
  noise?: Noise;
  /** Where sessions overlap, one may have made a call that is recorded with the other. */
  shares?: Shares | undefined;
  /** What was said on the connections of the recording. */
  history?: History;
  /** Whether a word that is another one in the replay was drawn at random: its place in the session, and both words. */
  isRedrawn?: (place: string, recorded: string, replayed: string) => boolean;
}

/** What a comparison found. */
export interface Comparison {
  Differences: Difference[];
  /** What a reader should know, but what fails nothing. */
  Notes: string[];
}

/** Compares a recorded session with its replay. */
export function compareSessions(
  recorded: Session,
  replayed: Session,
  options: CompareOptions = {},
): Comparison {
  const noise = options.noise ?? noiseOf();
  const comparison: Comparison = { Differences: [], Notes: [] };
  comparison.Differences.push(...compareReturn(recorded, replayed, options, comparison.Notes));
  compareCalls(recorded, replayed, options, comparison);
  const deeds = compareDeeds(recorded, replayed, noise);
  comparison.Differences.push(...deeds.Differences);
  comparison.Notes.push(...deeds.Notes);
  return comparison;
}

/** What is of the moment is noise, and noted. */
function withMoment(
  { noise = noiseOf(), isRedrawn }: CompareOptions,
  then: Said,
  now: Said,
  notes: string[],
): Noise {
  return (path, recorded, replayed) => {
    if (noise(path, recorded, replayed)) return true;
    if (typeof recorded !== 'string' || typeof replayed !== 'string') return false;
    const isRedrawnHere =
      isRedrawn &&
      ((place: string, left: string, right: string) => isRedrawn(`${path} ${place}`, left, right));
    if (!isOfTheMoment(recorded, replayed, then, now, isRedrawnHere)) return false;
    notes.push(`${path} is of the moment: ${clip(recorded, 80)} -> ${clip(replayed, 80)}`);
    return true;
  };
}

function compareReturn(
  recorded: Session,
  replayed: Session,
  options: CompareOptions,
  notes: string[],
): Difference[] {
  const before = recorded.ReturnInbound;
  const after = replayed.ReturnInbound;
  if (before === null && after === null) return [];
  if (before === null || after === null) {
    const say = (bytes: Uint8Array | undefined): string | null =>
      bytes === undefined ? null : `${bytes.length} bytes`;
    return [valueDifference('response-missing', 'response', say(before?.Response), say(after?.Response))];
  }
  const then = { session: recorded, at: before.OccurredAt };
  const now = { session: replayed, at: after.OccurredAt };
  return compareResponses('response', before.Response, after.Response, withMoment(options, then, now, notes));
}

function compareCalls(recorded: Session, replayed: Session, options: CompareOptions, into: Comparison): void {
  const { noise = noiseOf(), shares, history } = options;
  const isFresh = (call: CallOutbound): boolean => history?.isFresh(call) ?? false;
  const calls = outboundCalls(recorded);
  const made = outboundCalls(replayed);
  const byIndex = new Map(calls.map((call, position) => [call.ActionIndex, { call, position }]));
  const answered = new Set<number>();
  const order: CallOutbound[] = [];
  for (const [position, call] of made.entries()) {
    const matched = call.Matched;
    if (isSimulated(call)) {
      into.Notes.push(
        `${describeCall(call, made)} was answered without a recording: it only concerns its connection`,
      );
      continue;
    }
    if (isSaidUnasked(call) && (matched === null || matched.ActionIndex < 0)) {
      into.Notes.push(`${describeCall(call, made)}, at another moment than recorded`);
      continue;
    }
    if (matched === null || matched.ActionIndex < 0) {
      into.Differences.push(extraCall(call, made, byIndex, calls));
      continue;
    }
    if (matched.SessionId !== '' && matched.SessionId !== recorded.SessionId) {
      if (shares?.tooMany.has(call) === true && !isForTheConnection(replayed, made, position))
        into.Differences.push(repeatedCall('calls', call, made));
      else if (shares?.members.has(matched.SessionId) !== true && isWorkOfItsOwn(replayed, made, position))
        into.Differences.push(borrowedCall(call, made, matched.SessionId));
      else into.Notes.push(`${describeCall(call, made)} was answered from session ${matched.SessionId}`);
      continue;
    }
    const found = byIndex.get(matched.ActionIndex);
    if (found === undefined) {
      into.Differences.push(extraCall(call, made, byIndex, calls));
      continue;
    }
    const path = `calls[${found.position}]`;
    if (answered.has(matched.ActionIndex)) {
      if (isForTheConnection(replayed, made, position))
        into.Notes.push(`${describeCall(call, made)} was made once more than recorded`);
      else into.Differences.push(repeatedCall(path, call, made));
      continue;
    }
    answered.add(matched.ActionIndex);
    if (!isForTheConnection(recorded, calls, found.position, isFresh)) order.push(found.call);
    if (!isLogin(recorded, found.call)) {
      const then = { session: recorded, at: found.call.OccurredAt, before: found.call.ActionIndex };
      const now = { session: replayed, at: call.OccurredAt, before: call.ActionIndex };
      const noiseNow = withMoment(options, then, now, into.Notes);
      into.Differences.push(...compareCall(path, recorded, found.call, call, noiseNow));
    }
  }
  noteOrder(order, calls, into);
  for (const [position, call] of calls.entries()) {
    if (answered.has(call.ActionIndex)) continue;
    if (shares?.answeredElsewhere.has(callKey(recorded.SessionId, call.ActionIndex)) === true) {
      into.Notes.push(`${describeCall(call, calls)} was made by another session of the overlap group`);
    } else if (isForTheConnection(recorded, calls, position, isFresh)) {
      into.Notes.push(`${describeCall(call, calls)} was not made: it only concerns its connection`);
    } else if (!noise(`calls[${position}]`))
      into.Differences.push(missingCall(`calls[${position}]`, call, calls));
  }
}

/** The same calls in another order are the same calls; that they are, a reader should know. */
function noteOrder(made: readonly CallOutbound[], calls: readonly CallOutbound[], into: Comparison): void {
  const later = made.find((call, at) => call.ActionIndex < (made[at - 1]?.ActionIndex ?? call.ActionIndex));
  if (later === undefined) return;
  const before = made[made.indexOf(later) - 1];
  if (before === undefined) return;
  into.Notes.push(
    `calls were made in another order: ${describeCall(before, calls)} before ${describeCall(later, calls)}`,
  );
}

function compareCall(
  path: string,
  session: Session,
  recorded: CallOutbound,
  replayed: CallOutbound,
  noise: Noise,
): Difference[] {
  const said = describeCall(recorded, outboundCalls(session));
  const differences = isStated(session, recorded)
    ? statedDifferences(`${path}.request`, replayed, noise)
    : compareRequests(`${path}.request`, recorded.Request, replayed.Request, noise);
  for (const difference of differences) difference.Details.push(`in ${said}`);
  if (recorded.Error !== replayed.Error && (isErrno(recorded.Error) || isErrno(replayed.Error))) {
    const difference = valueDifference(
      'call-error',
      `${path}.error`,
      recorded.Error === '' ? null : recorded.Error,
      replayed.Error === '' ? null : replayed.Error,
    );
    difference.Details.push(`in ${said}`);
    differences.push(difference);
  }
  return differences;
}

/**
 * What differs every time: in which request a driver prepares a statement and asks for its columns, under which
 * name, and in which form it wants values, depends on the connection that its pool gives; a password is proved
 * anew; the client's port is another one.
 */
const OF_THE_MOMENT: ReadonlySet<string> = new Set([
  'statement name',
  'portal',
  'prepares',
  'describes',
  'result formats',
  'param REMOTE_PORT',
  'proof',
]);

/**
 * The differences that the matcher has named: it knows which statement a number stands for, and that another number
 * may stand for the same one.
 */
function statedDifferences(path: string, replayed: CallOutbound, noise: Noise): Difference[] {
  return (replayed.Matched?.Differences ?? []).flatMap((line) => {
    const [, name = line, before = '', after = ''] = /^(.*?): ([^]*) -> ([^]*)$/.exec(line) ?? [];
    const at = `${path}.${name}`;
    // What the matcher has cut is not all there is; in front it cuts what is equal.
    const whole = (text: string): string | null => (text.includes('…', 1) ? null : text);
    return OF_THE_MOMENT.has(name) || noise(at, whole(before), whole(after))
      ? []
      : [valueDifference('call-changed', at, before, after)];
  });
}

function extraCall(
  call: CallOutbound,
  made: readonly CallOutbound[],
  byIndex: ReadonlyMap<number, { call: CallOutbound; position: number }>,
  calls: readonly CallOutbound[],
): Difference {
  const said = describeCall(call, made);
  const matched = call.Matched;
  const details: string[] = [];
  const nearest = matched === null ? undefined : byIndex.get(matched.NearestActionIndex);
  if (matched !== null && matched.Reason !== '') details.push(clip(matched.Reason, 200));
  if (nearest !== undefined && matched !== null && matched.NearestActionIndex >= 0) {
    details.push(`nearest recorded call: ${describeCall(nearest.call, calls)}`);
  }
  details.push(...(matched?.Differences ?? []).map((line) => clip(line, 200)));
  const scores = scoreLines(matched?.Fields ?? []);
  const second = matched?.RunnerUp ?? null;
  if (second !== null && second.SessionId === '' && second.ActionIndex !== matched?.NearestActionIndex) {
    const found = byIndex.get(second.ActionIndex);
    if (found !== undefined) scores.push(runnerUpLine(describeCall(found.call, calls), second.Mark));
  }
  const failed = call.Error === '' ? '' : ` (it failed with ${call.Error})`;
  return {
    Kind: 'call-extra',
    Path: `replayed calls[${call.ActionIndex}]`,
    Recorded: null,
    Replayed: said,
    Text: `call not in the recording: ${said}${failed}`,
    Details: details,
    Scores: scores,
  };
}

function repeatedCall(path: string, call: CallOutbound, made: readonly CallOutbound[]): Difference {
  const said = describeCall(call, made);
  return {
    Kind: 'call-extra',
    Path: path,
    Recorded: 'once',
    Replayed: 'once more',
    Text: `call made more often than recorded: ${said}`,
    Details: [],
    Scores: [],
  };
}

/** It got an answer, but in the recording this session does not ask so. */
function borrowedCall(call: CallOutbound, made: readonly CallOutbound[], session: string): Difference {
  const said = describeCall(call, made);
  return {
    Kind: 'call-extra',
    Path: `replayed calls[${call.ActionIndex}]`,
    Recorded: null,
    Replayed: said,
    Text: `call not in the recording of this session: ${said}`,
    Details: [`it was answered as in session ${session}`],
    Scores: [],
  };
}

function missingCall(path: string, call: CallOutbound, calls: readonly CallOutbound[]): Difference {
  const said = describeCall(call, calls);
  return {
    Kind: 'call-missing',
    Path: path,
    Recorded: said,
    Replayed: null,
    Text: `recorded call was not made: ${said}`,
    Details: [],
    Scores: [],
  };
}

function isErrno(error: string): boolean {
  return /^E[A-Z0-9]+$/.test(error);
}

/** Whether a call is more than setting a connection up, as a pool does at any moment; bytes of no known protocol may be that. */
function isWorkOfItsOwn(session: Session, calls: readonly CallOutbound[], position: number): boolean {
  const call = calls[position];
  if (call === undefined) return false;
  if (isSql(session, call)) return !isForTheConnection(session, calls, position);
  const commands = parseRedisCommands(call.Request);
  if (commands === undefined) return parseHttpRequest(call.Request) !== undefined;
  return !isRedisConnectionCommand(commands) && !isSelect(call);
}

/** Whether a call only concerns its connection: it sets it up, or takes leave. */
function isForTheConnection(
  session: Session,
  calls: readonly CallOutbound[],
  position: number,
  isFresh: (call: CallOutbound) => boolean = () => true,
): boolean {
  const call = calls[position];
  if (call === undefined) return false;
  if (isSaidUnasked(call)) return true;
  const purpose = purposeOf(protocolOf(session, call), call);
  if (purpose === 'connection' || isConnectionCall(call)) return true;
  // It changes the data like nothing else, unless it only ends the set-up of a new connection.
  if (purpose !== 'set-up' && !isSelect(call)) return false;
  const before = calls.slice(0, position).filter((one) => one.ConnectionId === call.ConnectionId);
  return (
    (before.length > 0 || isFresh(call)) &&
    before.every((one) => isConnectionCall(one) || purposeOf(protocolOf(session, one), one) !== 'work')
  );
}

/** Whether the matcher knows better than a comparison of bytes what differs. */
function isStated(session: Session, call: CallOutbound): boolean {
  return isSql(session, call) || protocolOf(session, call) === 'fastcgi';
}

function isSql(session: Session, call: CallOutbound): boolean {
  return purposeOf(protocolOf(session, call), call) !== undefined;
}

/** Whether a call is part of a login, which is another one every time. */
function isLogin(session: Session, call: CallOutbound): boolean {
  return isSql(session, call) && /\(login\)/.test(describeCall(call));
}

/** What a server says first, or unasked, is no doing of the program. */
function isSaidUnasked(call: CallOutbound): boolean {
  return call.Request.length === 0 && !isErrno(call.Error);
}

/** Whether a call was answered as any server answers it. */
function isSimulated(call: CallOutbound): boolean {
  return call.Matched !== null && call.Matched.ActionIndex < 0 && call.Matched.Mark > 0;
}

function isSelect(call: CallOutbound): boolean {
  const [name] = parseRedisCommands(call.Request)?.[0] ?? [];
  return name !== undefined && new TextDecoder().decode(name).toUpperCase() === 'SELECT';
}

function isConnectionCall(call: CallOutbound): boolean {
  const commands = parseRedisCommands(call.Request);
  return commands !== undefined && isRedisConnectionCommand(commands);
}

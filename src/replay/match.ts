/** Which recorded call a request is, and why: the decision of a replay, for one request, with its explanation. */
import type { Decision, DecodedRequest, Inbound, MatcherOptions } from '../native/api.ts';
import { loadNative } from '../native/native.ts';
import { describeCall } from '../protocols/describe.ts';
import { connectionOf, outboundCalls, peerOf, type CallOutbound, type Session } from '../recording/model.ts';
import { Recording } from '../recording/recording.ts';

/** What to match. */
export interface MatchOptions extends Pick<MatcherOptions, 'strategy' | 'threshold'> {
  /** The bytes that a program would send. */
  request: Uint8Array;
  /** The recording whose calls it may be. */
  recording: string;
  /** Whom it is sent to: `127.0.0.1:6379`, `unix:/path`; by default, everyone that the recorded calls were sent to. */
  peer?: string | undefined;
  /** Only the calls of these sessions, by the beginnings of their ids; all by default. */
  sessions?: readonly string[] | undefined;
}

/** A recorded call, where it stands in its recording. */
export interface CallReference {
  SessionId: string;
  ActionIndex: number;
  /** `GET item:3 -> 127.0.0.1:6379` */
  Call: string;
}

/** The decision for one peer. */
export interface MatchDecision {
  Peer: string;
  /** The recorded call that would answer; null where none would. */
  Matched: CallReference | null;
  /** Where nothing matched: the call that comes closest. */
  Nearest: CallReference | null;
  Mark: number;
  Reason: string;
  RunnerUp: { Call: CallReference; Mark: number } | null;
  /** By kind of field: what it weighs, and the share of it that agrees. */
  Fields: { Name: string; Weight: number; Score: number }[];
  /** What differs from the matched or the nearest call, a line each. */
  Differences: string[];
}

/** The decisions, the best first. */
export interface MatchReport {
  /** How the request was understood. */
  Request: { Protocol: string; Fields: { Name: string; Value: string }[] };
  /** How many recorded calls it was compared with. */
  Calls: number;
  Decisions: MatchDecision[];
}

interface Recorded {
  reference: CallReference;
  peer: string;
  connection: number;
  call: CallOutbound;
}

/** Decides and explains. A `KoalaError` says why the recording can't be read, or has no such session. */
export async function explainMatch(options: MatchOptions): Promise<MatchReport> {
  const native = await loadNative();
  const { calls, inbound } = await recordedCalls(options);
  const matcher = new native.Matcher(
    calls.map(({ peer, connection, call }, at) => ({
      peer,
      connection,
      request: call.Request,
      response: call.Response,
      overtaken: overtaken(calls, at),
      at: Number(call.OccurredAt / 1_000_000n),
    })),
    { strategy: options.strategy, threshold: options.threshold, inbound },
  );
  const now = Date.now();
  const peers = options.peer === undefined ? [...new Set(calls.map(({ peer }) => peer))] : [options.peer];
  const decisions = peers.map((peer) =>
    decide(peer, matcher.find(peer, options.request, undefined, now), calls),
  );
  return {
    Request: decoded(native.decodeRequest(options.request)),
    Calls: calls.length,
    Decisions: decisions.toSorted((left, right) => rank(right) - rank(left)),
  };
}

/** How many of the calls behind one were made before it was answered. */
function overtaken(calls: readonly Recorded[], at: number): number {
  const answered = calls[at]?.call.ResponseTime ?? 0n;
  let next = at + 1;
  while ((calls[next]?.call.OccurredAt ?? answered) < answered) next += 1;
  return next - at - 1;
}

/** The calls of the sessions, and what these were called with. */
async function recordedCalls({
  recording,
  sessions,
}: MatchOptions): Promise<{ calls: Recorded[]; inbound: Inbound[] }> {
  const opened = await Recording.open(recording);
  const calls: Recorded[] = [];
  const inbound: Inbound[] = [];
  const add = (session: Session): void => {
    // Of a program that nobody called, that is known as well.
    inbound.push({
      request: session.CallFromInbound?.Request ?? new Uint8Array(),
      response: session.ReturnInbound?.Response,
    });
    for (const call of outboundCalls(session)) {
      // A server's greeting is nothing that is asked for.
      if (call.Request.length === 0) continue;
      const reference = {
        SessionId: session.SessionId,
        ActionIndex: call.ActionIndex,
        Call: describeCall(call),
      };
      const asked = connectionOf(session, call.ConnectionId)?.Peer ?? '';
      const peer = asked === '' ? peerOf(call) : asked;
      calls.push({ reference, peer, connection: Number(call.ConnectionId), call });
    }
  };
  if (sessions === undefined || sessions.length === 0) {
    for await (const { session } of opened.sessions()) add(session);
  } else {
    for (const id of sessions) add((await opened.find(id)).session);
  }
  return { calls, inbound };
}

function decide(peer: string, decision: Decision, calls: readonly Recorded[]): MatchDecision {
  const at = (index: number | null): CallReference | null =>
    index === null ? null : (calls[index]?.reference ?? null);
  const second = at(decision.runnerUp?.index ?? null);
  return {
    Peer: peer,
    Matched: at(decision.index),
    Nearest: at(decision.nearest),
    Mark: decision.mark,
    Reason: decision.reason,
    RunnerUp: second === null ? null : { Call: second, Mark: decision.runnerUp?.mark ?? 0 },
    Fields: decision.fields.map(({ name, weight, score }) => ({ Name: name, Weight: weight, Score: score })),
    Differences: decision.differences,
  };
}

/** Matched ones first, by their mark; then those of which something came near. */
function rank({ Matched, Nearest, Mark, RunnerUp }: MatchDecision): number {
  if (Matched !== null) return 10 + Mark;
  return Nearest === null ? 0 : 1 + (RunnerUp?.Mark ?? 0);
}

function decoded({ protocol, fields }: DecodedRequest): MatchReport['Request'] {
  return { Protocol: protocol, Fields: fields.map(({ name, value }) => ({ Name: name, Value: value })) };
}

/** A session in a line of a list. */
import { describeRequest, describeResponse } from '../protocols/describe.ts';
import { listenerOf, outboundCalls, type Session } from './model.ts';

/** What a list shows of a session; plain data. */
export interface SessionSummary {
  SessionId: string;
  Context: string;
  /** When its request came, in RFC 3339; empty where it has none. */
  OccurredAt: string;
  /** `GET /items/1` */
  Request: string;
  /** `200` */
  Response: string;
  /** From the first byte of the request to the first of the response. */
  Milliseconds: number | null;
  Calls: number;
  Listener: string;
  Pid: number;
  Incomplete: boolean;
  OverlapGroup: string;
}

/** Sums a session up. */
export function summarize(session: Session): SessionSummary {
  const { CallFromInbound, ReturnInbound } = session;
  const took =
    CallFromInbound === null || ReturnInbound === null
      ? null
      : Number(ReturnInbound.OccurredAt - CallFromInbound.OccurredAt) / 1e6;
  const at = CallFromInbound?.OccurredAt ?? session.Actions[0]?.OccurredAt ?? 0n;
  return {
    SessionId: session.SessionId,
    Context: session.Context,
    OccurredAt: at === 0n ? '' : formatTime(at),
    Request: describeRequest(session),
    Response: describeResponse(session),
    Milliseconds: took === null ? null : Math.round(took * 1000) / 1000,
    Calls: outboundCalls(session).length,
    Listener: listenerOf(session),
    Pid: session.Pid,
    Incomplete: session.Incomplete,
    OverlapGroup: session.OverlapGroup,
  };
}

/** Nanoseconds since 1970 in RFC 3339, to the microsecond; the number itself where no calendar reaches. */
export function formatTime(nanoseconds: bigint): string {
  const milliseconds = Number(nanoseconds / 1_000_000n);
  if (milliseconds > 8.64e15) return String(nanoseconds);
  const micros = String((nanoseconds / 1000n) % 1000n).padStart(3, '0');
  return new Date(milliseconds).toISOString().replace('Z', `${micros}Z`);
}

/** Whether any bytes of a session contain `needle`. */
export function sessionContains(session: Session, needle: Uint8Array): boolean {
  const contents = [
    session.CallFromInbound?.Request,
    session.ReturnInbound?.Response,
    ...session.Actions.flatMap((action) => {
      if (action.ActionType === 'CallOutbound') return [action.Request, action.Response];
      return action.ActionType === 'ResolveName' ? [Buffer.from(action.Name)] : [action.Content];
    }),
  ];
  return contents.some(
    (content) => content !== undefined && Buffer.from(content).includes(Buffer.from(needle)),
  );
}

/**
 * The session model. The names are those of koala 1.x JSON, in every language and format of koala; the
 * reference with the meaning of each field is `crates/session/src/model.rs`. Byte strings are `Uint8Array`;
 * times are nanoseconds since 1970, as bigint, and so are ids of 64 bits. Pure: runs in the browser too.
 */

/** Everything that was done to answer one inbound request; with `Context` `boot`, what was done outside any. */
export interface Session {
  SessionId: string;
  Context: string;
  ThreadId: number;
  TraceHeader: Uint8Array | null;
  NextSessionId: string;
  CallFromInbound: CallFromInbound | null;
  ReturnInbound: ReturnInbound | null;
  Actions: Action[];
  TraceId: string;
  SpanId: string;
  ProcessId: bigint;
  Pid: number;
  Connections: Connection[];
  /** The same for all sessions whose requests were open on one execution context at once; else empty. */
  OverlapGroup: string;
  /** The session was cut: its process died, or events of it were lost. */
  Incomplete: boolean;
}

/** The request that began a session. */
export interface CallFromInbound {
  ActionIndex: number;
  OccurredAt: bigint;
  Peer: Peer;
  UnixAddr: UnixAddr;
  Request: Uint8Array;
  ConnectionId: bigint;
}

/** The response that the session's request got. */
export interface ReturnInbound {
  ActionIndex: number;
  OccurredAt: bigint;
  Response: Uint8Array;
}

/** One step of a session. */
export type Action = CallOutbound | SendUDP | AppendFile | ReadStorage | ResolveName;

/** A request and its response on one outbound connection, or a connect that failed. */
export interface CallOutbound {
  ActionType: 'CallOutbound';
  ActionIndex: number;
  OccurredAt: bigint;
  SocketFD: number;
  Peer: Peer;
  ResponseTime: bigint;
  UnixAddr: UnixAddr;
  Request: Uint8Array;
  Response: Uint8Array;
  CSpanId: string;
  ConnectionId: bigint;
  ThreadId: number;
  /** Two requests were open on the sender's context; this call may belong to the other. */
  Ambiguous: boolean;
  /** What the connect failed with (`ECONNREFUSED`), or what ended the talk; else empty. */
  Error: string;
  /** The sizes of the datagrams of the response, where there was more than one. */
  Datagrams: number[];
  /** Replay only: what it was answered with. */
  Matched: Matched | null;
}

/** How a replayed call was answered. */
export interface Matched {
  /** The recorded session of the call, where it is not the replayed one; else empty. */
  SessionId: string;
  /** `ActionIndex` of the recorded call; -1 if nothing matched. */
  ActionIndex: number;
  Mark: number;
  Reason: string;
  /** `ActionIndex` of the nearest recorded call where nothing matched; -1 if there is none. */
  NearestActionIndex: number;
  Differences: string[];
  /** The score by kind of field; empty where the bytes are equal, or nothing was weighed. */
  Fields: FieldScore[];
  /** The second best recorded call, where more than one was weighed. */
  RunnerUp: RunnerUp | null;
}

/** How well one kind of field agrees with the matched or nearest call. */
export interface FieldScore {
  /** `path`, `headers`, `where`. */
  Name: string;
  /** What it weighs in the mark. */
  Weight: number;
  /** The share of it that agrees, between 0 and 1. */
  Score: number;
}

/** A recorded call that came second. */
export interface RunnerUp {
  /** Its session, where it is not the replayed one; else empty. */
  SessionId: string;
  ActionIndex: number;
  Mark: number;
}

/** A datagram that was sent, and that was not answered. */
export interface SendUDP {
  ActionType: 'SendUDP';
  ActionIndex: number;
  OccurredAt: bigint;
  Peer: Peer;
  Content: Uint8Array;
  /** To whom, if by a unix socket. */
  UnixAddr: UnixAddr;
  /** As in `CallOutbound`. */
  Ambiguous: boolean;
}

/** Bytes appended to a file. */
export interface AppendFile {
  ActionType: 'AppendFile';
  ActionIndex: number;
  OccurredAt: bigint;
  FileName: string;
  Content: Uint8Array;
  /** As in `CallOutbound`. */
  Ambiguous: boolean;
  /** What was appended by this descriptor or stream is not in the recording. */
  Gap: boolean;
}

/** A name lookup. */
export interface ResolveName {
  ActionType: 'ResolveName';
  ActionIndex: number;
  OccurredAt: bigint;
  /** The name that was looked up; where `Address` is not empty, the name that was found. */
  Name: string;
  /** The address that was asked for its name; else empty. */
  Address: string;
  Service: string;
  /** `inet`, `inet6`, or empty for any. */
  Family: string;
  Addresses: string[];
  CanonicalName: string;
  /**
   * The error of getaddrinfo(3) that it failed with (`EAI_NONAME`), in a replay `UNRECORDED` where the recording does
   * not know the name; else empty.
   */
  Error: string;
  /** As in `CallOutbound`. */
  Ambiguous: boolean;
}

/** Helper information `read-storage`. */
export interface ReadStorage {
  ActionType: 'ReadStorage';
  ActionIndex: number;
  OccurredAt: bigint;
  Content: Uint8Array;
}

/** A TCP peer; all empty where there is none. */
export interface Peer {
  IP: string;
  Port: number;
  Zone: string;
}

/** A unix peer; all empty where there is none. */
export interface UnixAddr {
  Name: string;
  Net: string;
}

/** A connection that the actions of a session refer to. */
export interface Connection {
  ConnectionId: bigint;
  /** `inbound` or `outbound`. */
  Direction: string;
  /** `tcp`, `tcp6`, `unix` or `udp`. */
  Kind: string;
  /** Our end; of an inbound connection, the listener. */
  Local: string;
  Peer: string;
  /** `http`, `redis`, or empty where it was not recognised. */
  Protocol: string;
  Encrypted: boolean;
  ServerName: string;
  End: string;
  /** Bytes crossed that the recording lacks. */
  Gap: boolean;
}

/** Whether a session is what a process did outside any request. */
export function isBoot(session: Session): boolean {
  return session.Context === 'boot';
}

/** The outbound calls of a session. */
export function outboundCalls(session: Session): CallOutbound[] {
  return session.Actions.filter((action) => action.ActionType === 'CallOutbound');
}

/** The connection of an action, if the session has it. */
export function connectionOf(session: Session, connectionId: bigint): Connection | undefined {
  return session.Connections.find((connection) => connection.ConnectionId === connectionId);
}

/** The address at which the session's request came in, as `127.0.0.1:80`, `[::1]:80`, `unix:/path`, or empty. */
export function listenerOf(session: Session): string {
  const inbound = session.CallFromInbound;
  if (inbound === null) return '';
  const connection =
    connectionOf(session, inbound.ConnectionId) ??
    session.Connections.find((one) => one.Direction === 'inbound');
  return connection?.Direction === 'inbound' ? connection.Local : '';
}

/** Whom a call asked, as `127.0.0.1:6379`, `[::1]:80` or `unix:/path`; empty where it is not known. */
export function peerOf(call: { Peer: Peer; UnixAddr?: UnixAddr }): string {
  if (call.UnixAddr !== undefined && call.UnixAddr.Name !== '') return `unix:${call.UnixAddr.Name}`;
  const { IP, Port, Zone } = call.Peer;
  if (IP === '') return '';
  const zone = Zone === '' ? '' : `%${Zone}`;
  return IP.includes(':') ? `[${IP}${zone}]:${Port}` : `${IP}:${Port}`;
}

/** A client of the agent's control API: HTTP on a unix socket in the runtime directory. */
import { Agent as HttpAgent, request, type IncomingMessage } from 'node:http';
import { errorMessage } from '../errors.ts';
import { type NotCovered, readNotCovered } from '../recording/manifest.ts';

/** What the agent says of itself. */
export interface Status {
  Mode: string;
  /** The addresses on which the program under test listens now. */
  Listeners: string[];
  /** How many of its processes are attached and alive. */
  Processes: number;
  Sessions: number;
  /** Record: how many boot sessions, or parts of one, were written. */
  BootSessions: number;
  Events: number;
  Lost: { Events: number; Bytes: number; Sessions: number };
  /** Sessions given up at their first byte, because the event log was short of room. */
  NotAdmitted: number;
  /** Sessions given up at their first byte, because the sample leaves them out. */
  NotSampled: number;
  /** Connections on which bytes crossed that the event log does not have; sessions that used them are incomplete. */
  Gaps: number;
  /** The program's addresses at which it was asked by TLS: what was asked cannot be seen, nor replayed. */
  Encrypted: string[];
  /** Hooks that could not be resolved, by name. */
  Unresolved: string[];
  /** Programs that the program has executed and that are not recorded. */
  NotCovered: NotCovered[];
  Pids: number[];
  /** Why writing stopped, if it did; else empty. */
  Error: string;
  /** Replay: how many calls were made outside any session. */
  BootCalls: number;
  /** Replay: the last calls, made outside any session, that nothing recorded answers. */
  BootUnmatched: UnmatchedCall[];
}

/** A call that nothing recorded answers. */
export interface UnmatchedCall {
  Peer: string;
  /** The head of the request, as text. */
  Request: string;
  Reason: string;
}

/** The agent answered, but not with success; `status` is the HTTP status. */
export class ControlError extends Error {
  override name = 'ControlError';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Speaks to one agent. */
export class ControlClient {
  readonly #socketPath: string;
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: 4 });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** How the run stands. */
  async status(): Promise<Status> {
    return readStatus(await this.#send('GET', '/status', undefined, 10_000));
  }

  /** Completes the recording or ends the replay; the agent exits afterwards. */
  async finish(timeout: number): Promise<Status> {
    return readStatus(await this.#send('POST', '/finish', new Uint8Array(), timeout));
  }

  /** Replays one session, as CBOR; gives the replayed session, as CBOR. */
  async replay(session: Uint8Array, timeout: number, signal?: AbortSignal): Promise<Uint8Array> {
    const query = `timeout=${Math.ceil(timeout)}ms`;
    // The agent watches the time; a little more here, so that it is the one to say what it waited for.
    return this.#send('POST', `/cbor?${query}`, session, timeout + 5000, signal);
  }

  /** Ends idle connections. */
  close(): void {
    this.#http.destroy();
  }

  async #send(
    method: string,
    path: string,
    body: Uint8Array | undefined,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(
        {
          socketPath: this.#socketPath,
          method,
          path,
          agent: this.#http,
          ...(signal === undefined ? {} : { signal }),
          headers: {
            host: 'koala',
            ...(body === undefined
              ? {}
              : { 'content-type': 'application/cbor', 'content-length': body.length }),
          },
        },
        resolve,
      );
      sent.setTimeout(timeout, () =>
        sent.destroy(new Error(`koala-agent did not answer within ${timeout} ms`)),
      );
      sent.on('error', reject);
      sent.end(body);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of response) if (chunk instanceof Buffer) chunks.push(chunk);
    const content = Buffer.concat(chunks);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return content;
    throw new ControlError(status, errorOf(content) ?? `koala-agent answered with HTTP status ${status}`);
  }
}

function errorOf(content: Buffer): string | undefined {
  try {
    const value: unknown = JSON.parse(content.toString('utf8'));
    if (typeof value !== 'object' || value === null || !('Error' in value)) return undefined;
    return typeof value.Error === 'string' ? value.Error : undefined;
  } catch {
    return undefined;
  }
}

function readStatus(content: Buffer): Status {
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch (error) {
    throw new Error(`koala-agent's status is not JSON: ${errorMessage(error)}`, { cause: error });
  }
  const from = members(value);
  const lost = members(from['Lost']);
  return {
    Mode: text(from['Mode']),
    Listeners: array(from['Listeners']).filter((item) => typeof item === 'string'),
    Processes: number(from['Processes']),
    Sessions: number(from['Sessions']),
    BootSessions: number(from['BootSessions']),
    Events: number(from['Events']),
    Lost: {
      Events: number(lost['Events']),
      Bytes: number(lost['Bytes']),
      Sessions: number(lost['Sessions']),
    },
    NotAdmitted: number(from['NotAdmitted']),
    NotSampled: number(from['NotSampled']),
    Gaps: number(from['Gaps']),
    Encrypted: array(from['Encrypted']).filter((item) => typeof item === 'string'),
    Unresolved: array(from['Unresolved']).filter((item) => typeof item === 'string'),
    NotCovered: readNotCovered(from['NotCovered']),
    Pids: array(from['Pids']).filter((item) => typeof item === 'number'),
    Error: text(from['Error']),
    BootCalls: number(members(from['Boot'])['Calls']),
    BootUnmatched: array(members(from['Boot'])['Unmatched']).map((item) => {
      const call = members(item);
      return { Peer: text(call['Peer']), Request: text(call['Request']), Reason: text(call['Reason']) };
    }),
  };
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const members = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? { ...value } : {};
const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
const array = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** Sessions for people: a list, and one in full. */
import type { Writable } from 'node:stream';
import { asText, clip, show } from '../protocols/bytes.ts';
import { describeCall, describeRequest, protocolOf } from '../protocols/describe.ts';
import { parseHttpRequest, parseHttpResponse } from '../protocols/http.ts';
import { outboundCalls, peerOf, type Session } from '../recording/model.ts';
import { formatTime, type SessionSummary } from '../recording/summary.ts';
import { styleFor } from './style.ts';

const REQUEST_WIDTH = 40;
const SHOWN_BYTES = 4096;

/** The heading of a list. */
export function listHeading(): string {
  return `${'SESSION'.padEnd(36)}  ${'REQUEST'.padEnd(REQUEST_WIDTH)}  ANSWER  CALLS       TIME`;
}

/** One line of a list. */
export function listLine(summary: SessionSummary): string {
  const took = summary.Milliseconds === null ? '-' : `${summary.Milliseconds.toFixed(1)} ms`;
  const flags = [
    ...(summary.Incomplete ? ['incomplete'] : []),
    ...(summary.OverlapGroup === '' ? [] : ['overlaps']),
  ];
  const line = [
    summary.SessionId.padEnd(36),
    clip(summary.Request, REQUEST_WIDTH).padEnd(REQUEST_WIDTH),
    (summary.Response === '' ? '-' : summary.Response).padEnd(6),
    String(summary.Calls).padStart(5),
    took.padStart(9),
    ...flags,
  ];
  return line.join('  ');
}

/** Prints one session in full. */
export function printSession(session: Session, stream: Writable): void {
  const style = styleFor(stream);
  const lines = [
    style.bold(describeRequest(session)),
    `session ${session.SessionId}  process ${session.Pid}`,
  ];
  if (session.Incomplete)
    lines.push(style.yellow('incomplete: its process ended, or events of it were lost'));
  if (session.OverlapGroup !== '')
    lines.push(style.yellow(`overlaps with others: group ${session.OverlapGroup}`));
  const inbound = session.CallFromInbound;
  if (inbound !== null) {
    const from = peerOf(inbound);
    lines.push(
      '',
      style.bold(`request${from === '' ? '' : ` from ${from}`}, ${formatTime(inbound.OccurredAt)}`),
    );
    lines.push(...indented(inbound.Request, 'request'));
  }
  for (const [position, call] of outboundCalls(session).entries()) {
    const protocol = protocolOf(session, call);
    const error = call.Error === '' ? '' : ` ${style.red(call.Error)}`;
    const ambiguous = call.Ambiguous
      ? style.yellow(' (may belong to another session of the overlap group)')
      : '';
    const kind = protocol === '' ? '' : `${protocol} `;
    lines.push('', style.bold(`call ${position}: ${kind}${describeCall(call)}`) + error + ambiguous);
    lines.push(
      ...indented(call.Request, 'request'),
      style.dim('  =>'),
      ...indented(call.Response, 'response'),
    );
  }
  for (const action of session.Actions) {
    if (action.ActionType === 'CallOutbound') continue;
    if (action.ActionType === 'ResolveName') {
      const found = action.Address === '' ? action.Addresses.join(', ') : action.Name;
      const asked = action.Address === '' ? action.Name : action.Address;
      lines.push('', style.bold(`lookup of ${asked}`), `  ${action.Error === '' ? found : action.Error}`);
      continue;
    }
    const what = { SendUDP: 'datagram', AppendFile: 'append', ReadStorage: 'storage read' }[
      action.ActionType
    ];
    const where =
      action.ActionType === 'AppendFile'
        ? ` to ${action.FileName}`
        : action.ActionType === 'SendUDP'
          ? ` to ${peerOf(action)}`
          : '';
    lines.push('', style.bold(`${what}${where}`), `  ${show(action.Content, 200)}`);
  }
  if (session.ReturnInbound !== null) {
    lines.push('', style.bold(`response, ${formatTime(session.ReturnInbound.OccurredAt)}`));
    lines.push(...indented(session.ReturnInbound.Response, 'response'));
  }
  stream.write(`${lines.join('\n')}\n`);
}

function indented(bytes: Uint8Array, kind: 'request' | 'response'): string[] {
  if (bytes.length === 0) return ['  (nothing)'];
  const http = kind === 'request' ? parseHttpRequest(bytes) : parseHttpResponse(bytes);
  if (http === undefined) return [`  ${show(bytes, 400)}`];
  const first =
    'status' in http
      ? `${http.version} ${http.status} ${http.reason}`
      : `${http.method} ${http.target} ${http.version}`;
  const body = asText(http.body.subarray(0, SHOWN_BYTES)) ?? show(http.body, 400);
  const shown = http.body.length > SHOWN_BYTES ? `${body}… (${http.body.length} bytes)` : body;
  const lines = [first, ...http.headers.map(({ name, value }) => `${name}: ${value}`)];
  if (http.body.length > 0) lines.push('', ...shown.split('\n'));
  return lines.map((line) => `  ${line.trimEnd()}`);
}

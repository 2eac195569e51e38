/** The explanation of a match for people. */
import type { Writable } from 'node:stream';
import type { CallReference, MatchDecision, MatchReport } from '../replay/match.ts';
import { clip } from '../protocols/bytes.ts';
import { runnerUpLine, scoreLines } from '../diff/explain.ts';
import { count, styleFor, type Style } from './style.ts';

const SHOWN = 5;
const NAME_WIDTH = 12;
const VALUE_WIDTH = 90;
/** What holds many times is told whole, for what reads the JSON. */
const DIFFERENCE_WIDTH = 200;

/** Prints how the request was understood, and what was decided for each peer, the best first. */
export function printMatch(report: MatchReport, stream: Writable): void {
  const style = styleFor(stream);
  const { Protocol, Fields } = report.Request;
  const lines = [
    style.bold(
      `request: ${Protocol === '' ? 'of no known protocol' : Protocol}; compared with ${count(report.Calls, 'recorded call')}`,
    ),
    ...Fields.map(({ Name, Value }) => `  ${Name.padEnd(NAME_WIDTH)}  ${clip(Value, VALUE_WIDTH)}`),
  ];
  const [best] = report.Decisions;
  // Those that do not match tell nothing beside one that does.
  const told =
    best?.Matched === null || best === undefined
      ? report.Decisions
      : report.Decisions.filter(({ Matched }) => Matched !== null);
  for (const decision of told.slice(0, SHOWN)) lines.push('', ...decisionLines(decision, style));
  if (told.length > SHOWN) lines.push('', style.dim(`and ${count(told.length - SHOWN, 'more peer')}`));
  stream.write(`${lines.join('\n')}\n`);
}

function decisionLines(decision: MatchDecision, style: Style): string[] {
  const { Matched, Nearest, Mark, RunnerUp, Fields, Differences } = decision;
  const lines = [
    Matched === null
      ? `${style.red('unmatched')}  ${decision.Peer}`
      : `${style.green('matched')}  ${reference(Matched)}, mark ${Mark.toFixed(3)}`,
    `  ${decision.Reason}`,
  ];
  if (Nearest !== null) lines.push(`  nearest: ${reference(Nearest)}`);
  const same =
    RunnerUp?.Call.SessionId === Nearest?.SessionId && RunnerUp?.Call.ActionIndex === Nearest?.ActionIndex;
  if (RunnerUp !== null && !same)
    lines.push(style.dim(`  ${runnerUpLine(reference(RunnerUp.Call), RunnerUp.Mark)}`));
  lines.push(...scoreLines(Fields).map((line) => style.dim(`  ${line}`)));
  for (const difference of Differences)
    lines.push(`  ${style.yellow('differs')}  ${clip(difference, DIFFERENCE_WIDTH)}`);
  return lines;
}

function reference({ SessionId, ActionIndex, Call }: CallReference): string {
  return `${Call} (session ${SessionId}, action ${ActionIndex})`;
}

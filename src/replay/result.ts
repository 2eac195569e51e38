/** What a replay gives: plain data, the same in the JSON report. */
import type { Difference } from '../diff/index.ts';

/** One replayed session. */
export interface SessionResult {
  SessionId: string;
  /** What was asked: `GET /items/1`. */
  Request: string;
  Passed: boolean;
  /** Why it could not be compared: the program did not answer in time, or ended. Empty where it was. */
  Error: string;
  Differences: Difference[];
  /** What a reader should know, but what fails nothing. */
  Notes: string[];
  Milliseconds: number;
  Calls: CallCounts;
}

/** How many outbound calls there were: in the recording, in the replay, and of these, answered. */
export interface CallCounts {
  Recorded: number;
  Replayed: number;
  Answered: number;
}

/** A whole replay. */
export interface ReplayResult {
  Recording: string;
  Command: string[];
  Passed: boolean;
  Sessions: SessionResult[];
  /** Sessions that cannot be replayed, and why. */
  Skipped: { SessionId: string; Reason: string }[];
  /** What is wrong with the run as a whole: nothing was replayed, no call was seen, the program ended. */
  Problems: string[];
  Warnings: string[];
  Counts: { Passed: number; Failed: number; Skipped: number };
  Calls: CallCounts;
  Milliseconds: number;
}

/** The exit code that says it: 0 all passed, 1 differences. That it could not run at all is an error. */
export function exitCodeOf(result: ReplayResult): 0 | 1 {
  return result.Passed ? 0 : 1;
}

/** The public API of koala: what the commands do, for tests and other programs. */
export {
  compareSessions,
  noiseOf,
  type Comparison,
  type CompareOptions,
  type Difference,
  type DifferenceKind,
  type Noise,
} from './diff/index.ts';
export { KoalaError } from './errors.ts';
export { decodeSession, encodeSession } from './recording/codec.ts';
export { exportSessions, importSessions } from './recording/koala1.ts';
export type { Manifest } from './recording/manifest.ts';
export type * from './recording/model.ts';
export { Recording, type Place, type RecordedSession, type TornItem } from './recording/recording.ts';
export { replay, type ReplayOptions, type ReplayProgress } from './replay/replay.ts';
export { exitCodeOf, type ReplayResult, type SessionResult } from './replay/result.ts';
export { record, type RecordOptions, type RecordResult } from './run/record.ts';
export type { Status } from './run/control.ts';
export type { Program, ProgramExit } from './run/program.ts';

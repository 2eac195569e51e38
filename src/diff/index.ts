/**
 * Comparing a recorded session with its replay. Pure, for Node and the browser: no I/O, no Node modules, no
 * clock. It names differences; it never decides what a program should have done.
 */
export { compareTwice, mayBeDrawn } from './again.ts';
export { compareSessions, type CompareOptions, type Comparison } from './session.ts';
export { History } from './history.ts';
export { shareOut, type Shares } from './overlap.ts';
export { noiseOf, type Noise } from './noise.ts';
export type { Difference, DifferenceKind } from './difference.ts';

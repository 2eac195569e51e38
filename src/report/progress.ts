/** Progress: one line that is rewritten on a terminal, a plain line now and then elsewhere. */
import type { Writable } from 'node:stream';
import type { ReplayProgress } from '../replay/replay.ts';
import { isTerminal } from './style.ts';

const TERMINAL_INTERVAL = 80;
const PLAIN_INTERVAL = 5000;

/** Shows how far a replay is. */
export class Progress {
  readonly #stream: Writable;
  readonly #terminal: boolean;
  #shownAt: number;
  #failed = 0;

  constructor(stream: Writable) {
    this.#stream = stream;
    this.#terminal = isTerminal(stream);
    this.#shownAt = performance.now();
  }

  /** Takes note of progress; shows it when the last time is long enough ago. */
  update({ done, total, session }: ReplayProgress): void {
    if (session !== undefined && !session.Passed) this.#failed += 1;
    const now = performance.now();
    if (now - this.#shownAt < (this.#terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL)) return;
    this.#shownAt = now;
    const text = `replayed ${done} of ${total}${this.#failed === 0 ? '' : `, ${this.#failed} failed`}`;
    this.#stream.write(this.#terminal ? `\r\u001B[K${text}` : `${text}\n`);
  }

  /** Leaves the terminal clean. */
  end(): void {
    if (this.#terminal) this.#stream.write('\r\u001B[K');
  }
}

/** Ctrl-C and its like, for commands that have something to put in order before they end. */

const CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Signals that were turned into an abort. */
export interface Interrupt {
  signal: AbortSignal;
  /** The exit code of a command that was ended so. */
  exitCode: () => number;
  /** Gives the signals their usual effect again. */
  release: () => void;
}

/** From now on, signals that would end us abort `signal`: the program is stopped and the agent finished. */
export function interruptible(): Interrupt {
  const controller = new AbortController();
  let code: number = CODES.SIGINT;
  const onSignal = (signal: keyof typeof CODES): void => {
    code = CODES[signal];
    controller.abort();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}

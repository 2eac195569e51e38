import { Command, Option } from 'clipanion';
import { runDemo } from '../demo/demo.ts';
import { KoalaCommand } from './command.ts';
import { interruptible } from './interrupt.ts';

/** `koala demo` */
export class DemoCommand extends KoalaCommand {
  static override paths = [['demo']];
  static override usage = Command.Usage({
    category: 'Recording and replaying',
    description: 'Watch koala record a small shop, replay it without its dependencies, and catch a bug',
    details: `
      Starts a sample service in Node with a Redis-protocol server and an HTTP upstream, records some dozens of
      requests, stops the dependencies, replays the recording, and replays it once more against a version of the
      service with a planted bug. Everything runs on free ports of the loopback interface.

      Exits with 0 if the first replay passed and the second one found the bug.
    `,
    examples: [
      ['Run it', '$0 demo'],
      ['Run it with a real Redis', '$0 demo --redis'],
    ],
  });

  redis = Option.Boolean('--redis', false, { description: 'Use the redis-server on this machine' });
  to = Option.String('--to', {
    description: 'The directory of the recording; by default a new one in the temporary directory',
  });

  override async execute(): Promise<number> {
    const interrupt = interruptible();
    try {
      const { signal } = interrupt;
      return (await runDemo({ output: this.context.stdout, realRedis: this.redis, to: this.to, signal }))
        ? 0
        : 1;
    } catch (error) {
      if (!interrupt.signal.aborted) throw error;
      this.say('interrupted');
      return interrupt.exitCode();
    } finally {
      interrupt.release();
    }
  }
}

// `npm run soak`: what the tests of survival do a few times, for long. `npm run soak -- 500` kills as often.
import { join } from 'node:path';
import { root } from './lib/root.mjs';
import { Failure, main, run } from './lib/run.mjs';
import { build } from './build.mjs';

const DEFAULT_ROUNDS = 300;

await main(async ([text = DEFAULT_ROUNDS]) => {
  const rounds = Number(text);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Failure('usage: npm run soak [-- ROUNDS]');
  await build();
  const file = join(root, 'test', 'survival.test.ts');
  const { code } = await run(process.execPath, ['--import', 'tsx', '--test', file], {
    env: { KOALA_SOAK_ROUNDS: String(rounds) },
  });
  return code;
});

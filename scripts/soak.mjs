// `npm run soak`: what the tests of survival do a few times, for long: kill -9 (`npm run soak -- 500` does it as often), an
// agent that is slow for a minute, two million connections, and all of CPython's suites.
import { join } from 'node:path';
import { root } from './lib/root.mjs';
import { Failure, main, run } from './lib/run.mjs';
import { build } from './build.mjs';

const DEFAULT_ROUNDS = 300;
const files = ['survival', 'endurance', 'limits', 'transparency', 'cpython'];

await main(async ([text = DEFAULT_ROUNDS]) => {
  const rounds = Number(text);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Failure('usage: npm run soak [-- ROUNDS]');
  await build();
  const paths = files.map((name) => join(root, 'test', `${name}.test.ts`));
  const args = ['--import', 'tsx', '--test', '--test-concurrency=1', ...paths];
  const env = { KOALA_SOAK: '1', KOALA_SOAK_ROUNDS: String(rounds) };
  const { code } = await run(process.execPath, args, { env });
  return code;
});

// `npm start`: from a fresh clone to a recorded, replayed and broken program.
import { build } from './build.mjs';
import { installPackages } from './lib/install.mjs';
import { main, run } from './lib/run.mjs';

await main(async (args) => {
  await installPackages();
  await build();
  console.log('');
  const { code } = await run(process.execPath, ['dist/cli/main.js', 'demo', ...args]);
  return code;
});

// `npm run install-servers`: the real servers and tools that some tests need, from Debian's packages.
import { Failure, main } from './lib/run.mjs';
import { canInstall, installServers, missing } from './lib/servers.mjs';

await main(async () => {
  if (missing().length === 0) {
    console.log('Everything is here.');
    return 0;
  }
  if (!canInstall()) {
    const names = missing().flatMap(({ packages }) => packages);
    throw new Failure(`this needs root on Debian; elsewhere, install by hand: ${names.join(' ')}`);
  }
  await installServers();
  const left = missing().map(({ name }) => name);
  if (left.length > 0) throw new Failure(`this system has no package for: ${left.join(', ')}`);
  return 0;
});

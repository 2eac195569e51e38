// php-fpm behind nginx: the clients that PHP's services use, which its extensions bring.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startMariaDb } from '../support/databases.ts';
import { commandPath } from '../support/needs.ts';
import { startRedis, startUpstream } from '../support/servers.ts';
import { Running, freePort, temporaryFolder, until } from '../support/system.ts';
import { load } from './load.ts';
import { fill, programPath, programText } from './programs.ts';
import { Traced, assertTrue, lackingAny } from './traced.ts';

const skip = lackingAny('php-fpm', 'php-mysql', 'php-redis', 'php-curl', 'nginx', 'redis-server', 'mariadb');
const kinds = ['mysqli', 'pdo', 'redis', 'curl', 'multi', 'streams', 'sockets', 'large', 'echo'];
const isRoot = process.getuid?.() === 0;

/** The path of the newest php-fpm. */
function phpFpm(): string {
  const version = readdirSync('/etc/php').toSorted().at(-1);
  return commandPath(`php-fpm${version}`);
}

interface Site {
  port: number;
  folder: string;
  /** The command of php-fpm. */
  fpm: string[];
  /** The command of nginx. */
  nginx: string[];
}

/** The configuration of a site: nginx, two pools of php-fpm, and what they ask. */
async function site(t: TestContext, clearEnv: { tcp: string; unix: string }): Promise<Site> {
  const folder = await temporaryFolder(t);
  // The workers are another user than the one that made it.
  chmodSync(folder, 0o755);
  const [redis, mysql] = await Promise.all([
    startRedis(t),
    startMariaDb(t, [
      'CREATE TABLE trees (id INT PRIMARY KEY, name VARCHAR(50))',
      "INSERT INTO trees VALUES (1, 'blue gum'), (2, 'manna gum'), (3, 'tallowwood')",
    ]),
  ]);
  const upstream = await startUpstream(t, ({ url }) => ({ body: `${url}\n`.repeat(1000) }));
  const [port, tcp] = [await freePort(), await freePort()];
  const script = join(folder, 'app.php');
  copyFileSync(programPath('app.php'), script);
  chmodSync(script, 0o644);
  const settings = JSON.stringify({ mysql, redis: redis.port, upstream: upstream.port });
  const fpmUser = isRoot ? 'user = www-data' : '';
  const pools = {
    folder,
    port: String(tcp),
    user: fpmUser,
    clear_tcp: clearEnv.tcp,
    clear_unix: clearEnv.unix,
  };
  const fpmConfig = join(folder, 'php-fpm.conf');
  writeFileSync(fpmConfig, fill(programText('php-fpm.conf'), pools));
  const nginxConfig = join(folder, 'nginx.conf');
  const user = isRoot ? 'user www-data;' : '';
  const values = { folder, port: String(port), tcp: String(tcp), script, settings, user };
  writeFileSync(nginxConfig, fill(programText('fastcgi.conf'), values));
  return {
    port,
    folder,
    fpm: [phpFpm(), '-n', ...extensions(), '-y', fpmConfig],
    nginx: [commandPath('nginx'), '-c', nginxConfig, '-p', folder],
  };
}

/** What loads the extensions, and no other settings of the machine. */
const extensions = (): string[] =>
  ['mysqlnd', 'mysqli', 'pdo', 'pdo_mysql', 'igbinary', 'redis', 'curl', 'sockets'].flatMap((name) => [
    '-d',
    `extension=${name}`,
  ]);

const paths = (client: number, round: number): { method?: string; path: string; body?: string } => {
  const kind = kinds[(client + round) % kinds.length];
  const path = `${client % 2 === 0 ? '/tcp' : ''}/${kind}/${client * 10 + round + 1}`;
  return kind === 'echo' ? { method: 'POST', path, body: `${client}`.repeat(client * 2000 + 1) } : { path };
};

for (const clearEnv of [
  { tcp: 'yes', unix: 'no' },
  { tcp: 'no', unix: 'yes' },
]) {
  const name = `php-fpm, static with clear_env ${clearEnv.tcp}, ondemand with ${clearEnv.unix}`;
  test(name, { skip }, async (t) => {
    const { port, folder, fpm, nginx } = await site(t, clearEnv);
    const program = await Traced.start(t, fpm);
    await until('php-fpm', () => existsSync(join(folder, 'fpm.sock')));
    const [command = '', ...args] = nginx;
    const front = new Running(t, command, args);
    await front.listening(port);
    const exchanges = await load(port, kinds.length, paths);
    for (const { request, response } of exchanges) {
      assert.doesNotMatch(response, /Fatal error|Warning:/, request.slice(0, 100));
    }
    // First the connections that nginx keeps: a worker does not end before its connection.
    front.signalGroup('SIGTERM');
    await front.end();
    const outcome = await program.stop('SIGQUIT');
    assertTrue(outcome, { inbound: 75, outbound: 100, bytes: 6_000_000 });
  });
}

// PHP behind nginx with its sessions in Redis and in memcached: each run makes other ids of sessions, which are looked up,
// locked and written before anybody is told them, and asks on connections that outlive requests.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { koala, record, stop } from './support/koala.ts';
import { commandPath, lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { startRedis } from './support/servers.ts';
import { Running, freePort, temporaryFolder } from './support/system.ts';

const isRoot = process.getuid?.() === 0;
const trees = ['blue gum', 'manna gum', 'tallowwood'];

/** A memcached of the test's own. */
async function startMemcached(t: TestContext): Promise<{ port: number; stop: () => Promise<void> }> {
  const port = await freePort();
  const user = isRoot ? ['-u', 'nobody'] : [];
  const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', ...user];
  const server = new Running(t, commandPath('memcached'), args);
  await server.listening(port);
  const stopped = async (): Promise<void> => {
    server.signalGroup('SIGKILL');
    await server.ended;
  };
  return { port, stop: stopped };
}

/** php-fpm and the nginx in front of it, as one program. */
async function site(
  t: TestContext,
  asked: Record<string, number>,
): Promise<{ program: string[]; port: number }> {
  const folder = await temporaryFolder(t);
  // The workers are another user than the one that made it.
  chmodSync(folder, 0o755);
  const script = join(folder, 'sessions.php');
  copyFileSync(programFile('sessions.php'), script);
  chmodSync(script, 0o644);
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(asked));
  const port = await freePort();
  const listen = join(folder, 'fpm.sock');
  const values: Record<string, string> = {
    folder,
    script,
    port: String(port),
    listen,
    pass: `unix:${listen}`,
  };
  const configuration = (name: string, user: string): string => {
    const text = readFileSync(programFile(name), 'utf8');
    const file = join(folder, name);
    writeFileSync(
      file,
      text.replaceAll(/@(\w+)@/g, (_, key: string) => (key === 'user' ? user : (values[key] ?? ''))),
    );
    return file;
  };
  const fpmFile = configuration('databases.fpm.conf', isRoot ? 'user = www-data' : '');
  const nginxFile = configuration('databases.nginx.conf', isRoot ? 'user www-data;' : '');
  const version = readdirSync('/etc/php').toSorted().at(-1);
  const extensions = ['igbinary', 'msgpack', 'redis', 'memcached'].flatMap((name) => [
    '-d',
    `extension=${name}`,
  ]);
  const fpm = [commandPath(`php-fpm${version}`), '-n', ...extensions, '-y', fpmFile];
  const nginx = [commandPath('nginx'), '-c', nginxFile, '-p', folder];
  return { program: ['/bin/sh', programFile('site.sh'), listen, ...fpm, '--', ...nginx], port };
}

test(
  "PHP's sessions in Redis and memcached: green without their servers, red when another thing is asked or written",
  { skip: lacking('php-fpm', 'php-redis', 'php-memcached', 'nginx', 'redis-server', 'memcached') },
  async (t) => {
    const redis = await startRedis(
      t,
      Object.fromEntries(trees.map((tree, number) => [`tree:${number}`, tree])),
    );
    const memcached = await startMemcached(t);
    const { program, port } = await site(t, { redis: redis.port, memcached: memcached.port });
    const folder = join(await temporaryFolder(t), 'recording');
    const recording = await record(t, { to: folder, program, port });
    // Enough for every worker to keep its connection, and for ids of many looks.
    const paths = Array.from({ length: 24 }, (_, at) => `/${at % 2 === 0 ? 'redis' : 'memcached'}/${at % 2}`);
    for (const path of paths) {
      const client = await Client.connect(port);
      const { response } = await client.http('GET', path);
      client.close();
      assert.equal(parts(response).status, 200, response);
      assert.match(response, /Set-Cookie: PHPSESSID=/);
    }
    const { code, stderr } = await stop(recording);
    assert.equal(code, 0, stderr);
    await redis.stop();
    await memcached.stop();

    const replay = async (regression: string): Promise<{ code: number | null; stdout: string }> =>
      koala(t, ['replay', folder, '--timeout', '10s', '--', ...program], { REGRESSION: regression });
    await t.test('the same program', async () => {
      const { code: verdict, stdout } = await replay('');
      assert.equal(verdict, 0, stdout);
      assert.match(stdout, new RegExp(`${paths.length} passed`));
    });
    await t.test('one that visits another tree', async () => {
      const { code: verdict, stdout } = await replay('value');
      assert.equal(verdict, 1, stdout);
      assert.match(stdout, /argument 1: tree:0 -> tree:1/);
      assert.match(stdout, new RegExp(`${paths.length} failed`));
    });
    await t.test('one that writes another visit', async () => {
      const { code: verdict, stdout } = await replay('write');
      assert.equal(verdict, 1, stdout);
      assert.match(stdout, /args\[2\]\.by: recorded "koala", replayed "nobody"/);
      assert.match(stdout, new RegExp(`${paths.length} failed`));
    });
  },
);

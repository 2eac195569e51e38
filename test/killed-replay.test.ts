// `koala replay` is killed: nobody waits for the program any more, and it ends with its agent. One that is recorded
// serves others, and goes on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { agents, record, startKoala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { startRedis } from './support/servers.ts';
import { freePort, processes, type Running, temporaryFolder, until } from './support/system.ts';

/** Kills a command line. What it has started may still hold its output. */
async function killed({ child, pid }: Running): Promise<void> {
  const exit = once(child, 'exit');
  process.kill(pid, 'SIGKILL');
  await exit;
}

const skip = lacking('gcc', 'redis-server');

test(
  'kill -9 of a replay ends its program and its agent, that of a recording does not',
  { skip },
  async (t) => {
    const folder = join(await temporaryFolder(t), 'recording');
    const redis = await startRedis(t);
    const port = await freePort();
    const server = compiled('threaded');
    // Beside the server one that asks nobody, and that does not end when it is told to.
    const idler = `trap '' TERM; : ${folder}; while true; do sleep 1; done`;
    const program = [
      '/bin/sh',
      '-c',
      `/bin/sh -c "$0" & exec "$@"`,
      idler,
      server,
      String(port),
      String(redis.port),
    ];
    const servers = (): ReturnType<typeof processes> =>
      processes(([name, first]) => name === server && first === String(port));
    const idlers = (): ReturnType<typeof processes> =>
      processes(([name, , script]) => name === '/bin/sh' && script === idler);
    const kill = async (): Promise<void> => {
      for (const { pid } of [...(await servers()), ...(await idlers())]) process.kill(pid, 'SIGKILL');
    };
    t.after(kill);

    const recording = await record(t, { to: folder, program, port });
    const ask = async (): Promise<number> => {
      const client = await Client.connect(port);
      const { response } = await client.http('GET', '/a');
      client.close();
      return parts(response).status;
    };
    const status = await ask();
    await killed(recording);
    assert.equal(await ask(), status, 'the recorded program serves without the command line');
    assert.equal((await idlers()).length, 1);
    await kill();
    await until('the end of the recording', async () => (await agents(folder)).length === 0);
    await redis.stop();

    // The replay waits for a listener that never comes.
    const replaying = startKoala(t, ['replay', folder, '--timeout', '300s', '--', ...program], {
      KOALA_SUT_ADDR: '127.0.0.1:1',
    });
    await until('the program', async () => (await servers()).length === 1 && (await idlers()).length === 1);
    assert.equal((await agents(folder)).length, 1);
    await killed(replaying);
    for (const [what, left] of [
      ['the server', servers],
      ['what asks nobody', idlers],
      ['the agent', () => agents(folder)],
    ] as const) {
      await until(`the end of ${what}`, async () => (await left()).length === 0);
    }
  },
);

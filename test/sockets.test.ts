// Every way of sending and receiving: what the program is told is the same with and without koala, and the recording has
// the bytes that crossed, or says that it lacks some.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { recordedConnections } from './ground-truth/recorded.ts';
import { koala } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { compiled } from './support/programs.ts';
import { readManifest, readRaw } from './support/recording.ts';
import { type Ended, Running, temporaryFolder } from './support/system.ts';

const answer = 'the answer\nof the peer, in lines\nand its end\n';

/** A peer that reads to the end, and then answers; what it got of each connection, by its port at the other end. */
async function startPeer(t: TestContext): Promise<{ port: number; got: Map<string, string> }> {
  const got = new Map<string, string>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const key = `127.0.0.1:${socket.remotePort}`;
    got.set(key, '');
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => got.set(key, (got.get(key) ?? '') + text));
    socket.on('end', () => socket.end(answer));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the peer has no port');
  return { port: address.port, got };
}

const program = (word: string, port: number, compiler: string): string[] => [
  compiled('sockets', compiler),
  word,
  String(port),
];

async function bare(t: TestContext, word: string, compiler: string): Promise<Ended> {
  const { port } = await startPeer(t);
  const [command = '', ...args] = program(word, port, compiler);
  return new Running(t, command, args).end();
}

const cases: { word: string; gap?: true | 'perhaps'; reads?: 'nothing'; connections?: number }[] = [
  { word: 'many' },
  { word: 'faults' },
  { word: 'spliced' },
  { word: 'files' },
  { word: 'streams' },
  { word: 'unclosed', reads: 'nothing' },
  { word: 'fast-open' },
  { word: 'peeked' },
  { word: 'twins' },
  { word: 'passed', connections: 1 },
  { word: 'executed' },
  { word: 'lent-forked', connections: 2 },
  { word: 'lent-vforked', connections: 2 },
  { word: 'lent-moved', connections: 2 },
  { word: 'lent-spawn', connections: 2 },
  { word: 'lent-shell', connections: 2 },
  { word: 'lent-popen', connections: 2 },
  { word: 'refused' },
  { word: 'unseen', gap: true },
  { word: 'abrupt', gap: true },
  { word: 'abrupt-child', gap: true },
  { word: 'abrupt-number', gap: true },
  // Out of a call that has happened and is not written down yet: that is then said.
  { word: 'jumped', gap: 'perhaps' },
  { word: 'signals' },
  { word: 'threads' },
];

for (const compiler of ['gcc', 'musl-gcc']) {
  for (const { word, gap, reads, connections: number } of cases) {
    test(`${word}, compiled by ${compiler}`, { skip: lacking(compiler) }, async (t) => {
      const expected = await bare(t, word, compiler);
      assert.equal(expected.code, 0, expected.stderr);
      const { port, got } = await startPeer(t);
      const folder = join(await temporaryFolder(t), 'recording');
      const told = await koala(t, ['record', '--to', folder, '--', ...program(word, port, compiler)]);
      assert.equal(told.code, 0, told.stderr);
      assert.equal(told.stdout, expected.stdout);
      const connections = recordedConnections(await readRaw(folder)).filter(
        ({ peer }) => peer === `127.0.0.1:${port}`,
      );
      const crossed = [...got.values()].filter((bytes) => bytes !== '').toSorted();
      if (gap === true) {
        assert.ok(connections.some((connection) => connection.gap));
        assert.match(told.stderr, /GAPS: 1 connection with bytes that could not be seen/);
        assert.equal((await readManifest(folder))['Gaps'], 1);
        return;
      }
      if (gap === 'perhaps') {
        for (const { local, sent, received, gap: said } of connections) {
          const whole = got.get(local) === sent.toString('latin1') && received.toString('latin1') === answer;
          assert.ok(whole || said, `${local} lacks bytes, and does not say so`);
        }
        assert.ok(connections.some(({ gap: said, sent }) => !said && sent.toString() === 'after it all\n'));
        return;
      }
      if (number !== undefined)
        assert.equal(
          connections.length,
          number,
          'a socket is one connection, whoever uses it, and how they got it',
        );
      const sent = new Map<string, string>();
      const received = new Map<string, string>();
      for (const connection of connections) {
        sent.set(connection.local, (sent.get(connection.local) ?? '') + connection.sent.toString('latin1'));
        const earlier = received.get(connection.local) ?? '';
        received.set(connection.local, earlier + connection.received.toString('latin1'));
      }
      assert.deepEqual([...sent.values()].filter((bytes) => bytes !== '').toSorted(), crossed);
      for (const bytes of received.values())
        assert.ok(answer.startsWith(bytes) && (bytes === answer) === (reads !== 'nothing'));
      assert.ok(
        connections.every((connection) => !connection.gap),
        'no gap is claimed',
      );
    });
  }
}

// Sockets other than those of TCP, UDP and unix streams: what of them is recorded, what is only told of, and that a replay
// lets nothing out by them.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, parts } from './support/client.ts';
import { record, replay, stop } from './support/koala.ts';
import { lacking } from './support/needs.ts';
import { programFile } from './support/programs.ts';
import { type Raw, readRaw } from './support/recording.ts';
import { Running, freePort, temporaryFolder, until } from './support/system.ts';

const skip = lacking('python3');

/** Who is asked: each message is answered, each datagram is printed. */
const listener = `
import os, socket, sys, threading
folder = sys.argv[1]
def serve(accepted):
    with accepted:
        while message := accepted.recv(1000):
            print("packet", message.decode(), flush=True)
            accepted.send(b"answer to " + message)
def packets():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as serving:
        serving.bind(os.path.join(folder, "packets.sock"))
        serving.listen()
        print("packets", flush=True)
        while True: threading.Thread(target=serve, args=serving.accept()[:1], daemon=True).start()
threading.Thread(target=packets, daemon=True).start()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
    receiving.bind(os.path.join(folder, "raw.sock"))
    print("datagrams", flush=True)
    while True: print("datagram", receiving.recv(1000).decode(), flush=True)
`;

async function startListener(t: TestContext, folder: string): Promise<Running> {
  const running = new Running(t, '/usr/bin/python3', ['-c', listener, folder]);
  await until('the listener', () => /packets/.test(running.stdout) && /datagrams/.test(running.stdout));
  return running;
}

const text = (bytes: unknown): string => Buffer.from((bytes ?? []) as Uint8Array).toString();
const list = (value: unknown): Raw[] => (value ?? []) as Raw[];

interface Recorded {
  bodies: string[];
  stderr: string;
  sessions: Raw[];
  heard: Running;
  again: () => ReturnType<typeof replay>;
}

/** Records a request for each way. */
async function recorded(t: TestContext, ways: string[]): Promise<Recorded> {
  const folder = await temporaryFolder(t);
  const heard = await startListener(t, folder);
  const [port, to] = [await freePort(), join(folder, 'recording')];
  const program = ['/usr/bin/python3', programFile('families.py'), String(port), folder];
  const running = await record(t, { to, program, port });
  const client = await Client.connect(port);
  const bodies: string[] = [];
  for (const way of ways) bodies.push(parts((await client.http('GET', `/${way}`)).response).body);
  client.close();
  const { stderr } = await stop(running);
  const sessions = (await readRaw(to)).filter((session) => session['CallFromInbound'] !== undefined);
  return { bodies, stderr, sessions, heard, again: () => replay(t, to, program) };
}

test('messages on a unix socket are recorded, and a replay does not send them', { skip }, async (t) => {
  const { bodies, stderr, sessions, heard, again } = await recorded(t, ['packets']);
  assert.deepEqual(bodies, ['answer to how many, answer']);
  assert.doesNotMatch(stderr, /GAPS|NOT COVERED/);
  const calls = list(sessions[0]?.['Actions']);
  assert.equal(calls.map((call) => text(call['Request'])).join(''), 'how manyand a second message');
  assert.equal(calls.map((call) => text(call['Response'])).join(''), 'answer to how manyanswer');
  const said = heard.stdout;
  const { code, stdout, stderr: told } = await again();
  assert.equal(code, 1, stdout + told);
  assert.match(stdout + told, /not covered: .*python3.*: .*SOCK_SEQPACKET/);
  assert.equal(heard.stdout, said, 'nothing has left the program');
});

test('the program reaches itself by messages, and the kernel, in a replay too', { skip }, async (t) => {
  const { bodies, again } = await recorded(t, ['own', 'kernel']);
  assert.deepEqual(bodies, ['own how many, own an', 'True']);
  const { code, stdout, stderr } = await again();
  assert.equal(code, 0, stdout + stderr);
});

test('a unix socket of SOCK_RAW is one of datagrams', { skip }, async (t) => {
  const { bodies, sessions, heard, again } = await recorded(t, ['datagram']);
  assert.deepEqual(bodies, ['23']);
  const [sent] = list(sessions[0]?.['Actions']);
  assert.equal(text(sent?.['Content']), 'a datagram all the same');
  await until('the datagram', () => heard.stdout.includes('all the same'));
  const said = heard.stdout;
  const { code, stdout, stderr } = await again();
  assert.equal(code, 0, stdout + stderr);
  assert.equal(heard.stdout, said, 'nothing has left the program');
});

for (const [way, words, refused] of [
  ['vsock', /AF_VSOCK/, 'Address family not supported by protocol'],
  ['raw', /SOCK_RAW/, 'Operation not permitted'],
] as const) {
  test(`that ${way} sockets are used is told, and a replay refuses them`, { skip }, async (t) => {
    const { bodies, stderr, again } = await recorded(t, [way]);
    if (bodies[0] === `failed: ${refused}`) return t.skip(`this machine gives no ${way} sockets`);
    const [line = '', ...others] = stderr.split('\n').filter((one) => one.includes('NOT COVERED'));
    assert.match(line, words);
    assert.match(line, /python3/);
    assert.deepEqual(others, []);
    const { code, stdout, stderr: told } = await again();
    assert.equal(code, 1, stdout + told);
    assert.match(stdout + told, words);
    assert.match(stdout + told, new RegExp(refused));
    return undefined;
  });
}

// The harness itself: it must see what is wrong with a recording, or its other tests prove nothing.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Raw } from '../support/recording.ts';
import { temporaryFolder } from '../support/system.ts';
import { type Verdict, compareDatagrams, compareStreams } from './compare.ts';
import { recordedConnections, recordedDatagrams } from './recorded.ts';
import { calls } from './strace.ts';
import { Wire } from './wire.ts';

const at = (port: number): string =>
  `{sa_family=AF_INET, sin_port=htons(${port}), sin_addr=inet_addr("127.0.0.1")}`;

/** A connection from port 1111 to the program's 80, and one from its port 2222 to 6379. */
const trace = String.raw`
10 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3<socket:[100]>
10 listen(3<socket:[100]>, 128) = 0
10 accept4(3<socket:[100]>,  <unfinished ...>
11 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5<socket:[102]>
11 connect(5<socket:[102]>, ${at(6379)}, 16) = -1 EINPROGRESS (Operation now in progress)
10 <... accept4 resumed>${at(1111)}, [128 => 16], SOCK_CLOEXEC) = 4<socket:[101]>
11 getsockname(5<socket:[102]>, ${at(2222)}, [128 => 16]) = 0
10 recvfrom(4<socket:[101]>, "GET", 3, MSG_PEEK, NULL, NULL) = 3
10 recvfrom(4<socket:[101]>, 0x7ffe, 8192, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
10 read(4<socket:[101]>,  <unfinished ...>
11 sendmsg(5<socket:[102]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="PI", iov_len=2}, {iov_base="NG\r\nlost", iov_len=8}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, 0) = 6
10 <... read resumed>"GET / \"\\\r\n", 8192) = 10
11 recvmsg(5<socket:[102]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="\x2b\x50", iov_len=2}, {iov_base="ONG\r\n", iov_len=100}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, 0) = 7
10 writev(4<socket:[101]>, [{iov_base="200 ", iov_len=4}, {iov_base="", iov_len=0}, {iov_base="OK and more", iov_len=11}], 3) = 6
10 +++ exited with 0 +++
`;

interface Recorded {
  request: string;
  response: string;
  asked: string;
  answered: string;
}

const right: Recorded = {
  request: 'GET / "\\\r\n',
  response: '200 OK',
  asked: 'PING\r\n',
  answered: '+PONG\r\n',
};

/** A recording of it. */
function sessions(
  recorded: Partial<Recorded> = {},
  connections: { gap?: boolean; inbound?: string } = {},
): Raw[] {
  const { request, response, asked, answered } = { ...right, ...recorded };
  const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
  const call = { OccurredAt: 5n, ConnectionId: 2, ActionIndex: 1, ActionType: 'CallOutbound' };
  return [
    {
      SessionId: '1',
      CallFromInbound: { OccurredAt: 1n, ConnectionId: 1, Request: bytes(request) },
      ReturnInbound: { OccurredAt: 9n, Response: bytes(response) },
      Actions: [{ ...call, Request: bytes(asked), ResponseTime: 6n, Response: bytes(answered) }],
      Connections: [
        {
          ConnectionId: 1,
          Direction: 'inbound',
          Kind: 'tcp',
          Local: '0.0.0.0:80',
          Peer: connections.inbound ?? '127.0.0.1:1111',
        },
        {
          ConnectionId: 2,
          Direction: 'outbound',
          Kind: 'tcp',
          Local: '127.0.0.1:2222',
          Peer: '127.0.0.1:6379',
          ...(connections.gap ? { Gap: true } : {}),
        },
      ],
    },
  ];
}

const compare = (recorded: Raw[], text = trace): Omit<Verdict, 'datagrams'> =>
  compareStreams(new Wire(text), recordedConnections(recorded));

test('a recording that has all that crossed holds', () => {
  assert.deepEqual(compare(sessions()), {
    problems: [],
    inbound: 1,
    outbound: 1,
    inner: 0,
    bytes: 29,
    gaps: [],
  });
});

for (const [what, recorded, problem] of [
  [
    'a missing byte',
    { request: 'GET /"\\\r\n' },
    /received: 10 bytes crossed, 9 are recorded; they differ from byte 5 on/,
  ],
  [
    'a missing end',
    { answered: '+PONG' },
    /received: 7 bytes crossed, 5 are recorded; they differ from byte 5 on/,
  ],
  [
    'an invented byte',
    { response: '200 OK!' },
    /sent: 6 bytes crossed, 7 are recorded; they differ from byte 6 on/,
  ],
  ['what was peeked at', { request: 'GETGET / "\\\r\n' }, /they differ from byte 3 on/],
  ['what the kernel did not take', { asked: 'PING\r\nlost' }, /sent: 6 bytes crossed, 10 are recorded/],
  [
    'a talk that is nowhere',
    { asked: '', answered: '' },
    /outbound inet 127.0.0.1:2222 -> 127.0.0.1:6379 .*: not recorded/,
  ],
] as const) {
  test(`${what} is found`, () => {
    const { problems } = compare(sessions(recorded));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', problem);
  });
}

test('a connection that nobody saw is found, and so is the one that it should be', () => {
  const { problems } = compare(sessions({}, { inbound: '127.0.0.1:1112' }));
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? '', /inbound inet .* 127.0.0.1:1111 .*: not recorded/);
  assert.match(problems[1] ?? '', /127.0.0.1:1112: recorded, but no such socket was seen/);
});

test('a gap excuses what is missing, and nothing that is invented', () => {
  const missing = compare(sessions({ asked: 'PI\r\n' }, { gap: true }));
  assert.deepEqual(missing.problems, []);
  assert.equal(missing.gaps.length, 1);
  assert.equal(compare(sessions({ asked: 'PINK\r\n' }, { gap: true })).problems.length, 1);
});

test('what a killed thread was sending may have crossed, in part', () => {
  const killed = `${trace.replace(/\n10 \+{3}.*/, '')}10 sendto(4<socket:[101]>, " never mind", 11, 0, NULL, 0 <unfinished ...>\n10 +++ killed by SIGKILL +++\n`;
  for (const [response, problems] of [
    ['200 OK', 0],
    ['200 OK never', 0],
    ['200 OK nothing', 1],
    ['200 O', 1],
  ] as const) {
    assert.equal(compare(sessions({ response }), killed).problems.length, problems, response);
  }
});

test('two ends in the program are recorded at the end that asked', () => {
  const inner = String.raw`${trace}10 accept(3<socket:[100]>, ${at(2222)}, [16]) = 6<socket:[103]>
10 read(6<socket:[103]>, "PING\r\n", 100) = 6
10 write(6<socket:[103]>, "+PONG\r\n", 7) = 7
`;
  const { problems, inner: found } = compare(sessions(), inner);
  assert.deepEqual([problems, found], [[], 1]);
});

test('what the kernel sends from files is known, also from those that have no name any more', async (t) => {
  const file = join(await temporaryFolder(t), 'file');
  writeFileSync(file, 'in the file');
  const sent = (how: string): string => trace.replace(/10 writev.*\n/, how);
  const named = sent(`10 sendfile(4<socket:[101]>, 7<${file}>, [3] => [7], 4) = 4\n`);
  const unnamed = sent(
    '10 pwrite64(7</gone>(deleted), "the ", 4, 0) = 4\n10 pwritev(7</gone>(deleted), [{iov_base="fi", iov_len=2}, {iov_base="le", iov_len=2}], 2, 4) = 4\n' +
      '10 sendfile(4<socket:[101]>, 7</gone>(deleted), [2] => [8], 100) = 6\n',
  );
  assert.deepEqual(compare(sessions({ response: 'the ' }), named).problems, []);
  assert.equal(compare(sessions({ response: 'teh ' }), named).problems.length, 1);
  assert.deepEqual(compare(sessions({ response: 'e file' }), unnamed).problems, []);
});

test('datagrams are compared one by one, and so are their answers', () => {
  const message = (text: string): string =>
    `{msg_hdr={msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="${text}", iov_len=3}], msg_iovlen=1, msg_controllen=0, msg_flags=0}`;
  const wire = new Wire(String.raw`
10 socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 3<socket:[1]>
10 recvfrom(3<socket:[1]>, "of a client", 100, 0, ${at(99)}, [16]) = 11
10 sendto(3<socket:[1]>, "to it", 5, 0, ${at(99)}, 16) = 5
10 recvfrom(3<socket:[1]>, "again", 100, 0, ${at(99)}, [16]) = 5
10 sendto(3<socket:[1]>, "\x01\x02", 2, 0, ${at(5353)}, 16) = 2
10 recvfrom(3<socket:[1]>, "answer", 100, 0, ${at(5353)}, [16]) = 6
10 connect(3<socket:[1]>, ${at(54)}, 16) = 0
10 sendmmsg(3<socket:[1]>, [${message('one')}, msg_len=3}, ${message('two')}}], 2, 0) = 1
10 recvmmsg(3<socket:[1]>, [${message('two')}, msg_len=3}, ${message('six')}, msg_len=3}], 2, 0, NULL) = 2
`);
  type Sent = [port: number, request: string, ...answers: string[]];
  const compareWith = (...all: Sent[]): ReturnType<typeof compareDatagrams> => {
    const actions = all.map(([Port, request, ...answers]) => {
      const [Peer, asked] = [{ IP: '127.0.0.1', Port }, Buffer.from(request, 'latin1')];
      if (answers.length === 0) return { ActionType: 'SendUDP', Peer, Content: asked };
      const sizes = answers.length > 1 ? { Datagrams: answers.map(({ length }) => length) } : {};
      const call = { ActionType: 'CallOutbound', ConnectionId: 1, Peer, Request: asked, ...sizes };
      return { ...call, Response: Buffer.from(answers.join('')) };
    });
    const session = { Actions: actions, Connections: [{ ConnectionId: 1, Kind: 'udp' }] };
    assert.deepEqual(recordedConnections([session]), []);
    return compareDatagrams(wire, recordedDatagrams([session]));
  };
  const rest: Sent[] = [
    [99, 'to it'],
    [5353, '\x01\x02', 'answer'],
  ];
  assert.deepEqual(compareWith(...rest, [54, 'one', 'two', 'six']), { problems: [], datagrams: 6 });
  assert.equal(compareWith(...rest, [54, 'one', 'two']).problems.length, 1);
  assert.equal(compareWith(...rest, [54, 'one']).problems.length, 2);
  assert.equal(compareWith(...rest, [54, 'one', 'two', 'six'], [54, 'two']).problems.length, 1);
});

test('strings are read in every form that strace has for them', () => {
  const text = String.raw`7 write(1<socket:[9]>, "\x00\xff\x22", 3) = 3
7 write(1<socket:[9]>, "a\"\\\n\t\0\1777"..., 9) = 9
7 read(1<socket:[9]>, "", 10) = 0
`;
  const seen = [...calls(text, () => true)].map(({ name, values }) => {
    const data = values[1];
    return data?.kind === 'bytes' ? [name, data.bytes.toString('latin1'), data.cut] : [];
  });
  assert.deepEqual(seen, [
    ['write', '\0ÿ"', false],
    ['write', 'a"\\\n\t\0\x7f7', true],
    ['read', '', false],
  ]);
});

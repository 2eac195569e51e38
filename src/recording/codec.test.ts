import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, Encoder } from 'cbor-x';
import { bytes, call, matched, session } from '../test-support/sessions.ts';
import { decodeSession, encodeSession, SessionFormatError } from './codec.ts';
import type { Session } from './model.ts';

const encoder = new Encoder({ useRecords: false, tagUint8Array: false, variableMapSize: true });

test('a session survives encoding, to the bit of its 64-bit integers and its bytes', () => {
  const every = Uint8Array.from({ length: 256 }, (_, index) => index);
  const original: Session = session({
    TraceHeader: every,
    ProcessId: 0xffff_ffff_ffff_fffen,
    Incomplete: true,
    OverlapGroup: 'g',
    Actions: [
      call(0, every, {
        Error: 'ECONNREFUSED',
        Ambiguous: true,
        Datagrams: [1, 2],
        OccurredAt: 1_795_358_265_987_075_457n,
        Matched: matched(-1, {
          Mark: 0.25,
          Reason: 'r',
          Differences: ['a', 'b'],
          Fields: [{ Name: 'path', Weight: 4, Score: 0.5 }],
          RunnerUp: { SessionId: '', ActionIndex: 3, Mark: 0.125 },
        }),
      }),
      {
        ActionType: 'SendUDP',
        ActionIndex: 1,
        OccurredAt: 5n,
        Peer: { IP: '::1', Port: 1, Zone: 'lo' },
        Content: every,
        UnixAddr: { Name: '/dev/log', Net: 'unix' },
        Ambiguous: true,
      },
      {
        ActionType: 'AppendFile',
        ActionIndex: 2,
        OccurredAt: 6n,
        FileName: '/a',
        Content: bytes('x'),
        Ambiguous: true,
        Gap: true,
      },
      {
        ActionType: 'ResolveName',
        ActionIndex: 4,
        OccurredAt: 8n,
        Name: 'db',
        Address: '',
        Service: '5432',
        Family: 'inet',
        Addresses: ['10.0.0.1', '10.0.0.2'],
        CanonicalName: 'db.example',
        Error: '',
        Ambiguous: true,
      },
      { ActionType: 'ReadStorage', ActionIndex: 3, OccurredAt: 7n, Content: bytes('y') },
    ],
  });
  const decoded = decodeSession(encodeSession(original));
  assert.deepEqual(JSON.stringify(plain(decoded)), JSON.stringify(plain(original)));
});

test('defaults are left out, and SessionId comes first', () => {
  const item: unknown = new Decoder({ useRecords: false }).decode(
    encodeSession(session({ Pid: 0, Connections: [] })),
  );
  assert.ok(typeof item === 'object' && item !== null);
  const names = Object.keys(item);
  assert.equal(names[0], 'SessionId');
  for (const name of ['Context', 'Pid', 'Connections', 'Actions', 'Incomplete', 'TraceHeader']) {
    assert.ok(!names.includes(name), name);
  }
});

test('unknown members are skipped and missing ones have their default', () => {
  const decoded = decodeSession(encoder.encode({ SessionId: 's', Future: { a: [1] } }));
  assert.equal(decoded.SessionId, 's');
  assert.equal(decoded.CallFromInbound, null);
  assert.deepEqual(decoded.Actions, []);
  assert.equal(decoded.ProcessId, 0n);
});

test('what is no session says what is wrong', () => {
  const cases: [unknown, RegExp][] = [
    [[1], /not a map/],
    [{ Context: 'x' }, /no SessionId/],
    [{ SessionId: 's', Pid: 'x' }, /Pid/],
    [{ SessionId: 's', Actions: [{ ActionType: 'Nonsense' }] }, /unknown type "Nonsense"/],
    [{ SessionId: 's', Actions: 3 }, /Actions/],
    [{ SessionId: 's', CallFromInbound: { Request: 'text' } }, /Request/],
  ];
  for (const [value, message] of cases) {
    assert.throws(
      () => decodeSession(encoder.encode(value)),
      (error) => error instanceof SessionFormatError && message.test(error.message),
    );
  }
  assert.throws(() => decodeSession(Uint8Array.from([0xa1])), SessionFormatError);
});

/** Comparable by JSON: byte strings of either class, and bigints. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([name, member]) => [name, plain(member)]));
}

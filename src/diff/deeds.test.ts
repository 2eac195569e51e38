import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Action, AppendFile, ResolveName, SendUDP, Session } from '../recording/model.ts';
import { bytes, call, matched, session } from '../test-support/sessions.ts';
import { noiseOf } from './noise.ts';
import { compareSessions, type CompareOptions } from './session.ts';

function compare(recorded: Session, replayed: Session, options?: CompareOptions): string[] {
  return compareSessions(recorded, replayed, options).Differences.map(({ Kind, Text }) => `${Kind} ${Text}`);
}

const did = (...Actions: Action[]): Session => session({ Actions });

function append(content: string, more: Partial<AppendFile> = {}): AppendFile {
  return {
    ActionType: 'AppendFile',
    ActionIndex: 1,
    OccurredAt: 5n,
    FileName: '/srv/app.log',
    Content: bytes(content),
    Ambiguous: false,
    Gap: false,
    ...more,
  };
}

function datagram(content: string, port = 8125): SendUDP {
  return {
    ActionType: 'SendUDP',
    ActionIndex: 1,
    OccurredAt: 5n,
    Peer: { IP: '127.0.0.1', Port: port, Zone: '' },
    Content: bytes(content),
    UnixAddr: { Name: '', Net: '' },
    Ambiguous: false,
  };
}

function lookup(Name: string, Error: string): ResolveName {
  return {
    ActionType: 'ResolveName',
    ActionIndex: 1,
    OccurredAt: 5n,
    Name,
    Address: '',
    Service: '',
    Family: '',
    Addresses: Error === '' ? ['10.0.0.1'] : [],
    CanonicalName: '',
    Error,
    Ambiguous: false,
  };
}

test('a line that was appended and is another now is named, with its file', () => {
  const recorded = did(append('one\n'), append('total 3\n'));
  assert.deepEqual(compare(recorded, did(append('one\ntotal 3\n'))), [], 'how it was cut is no difference');
  assert.deepEqual(compare(recorded, did(append('one\ntotal 4\n'))), [
    'append appended to /srv/app.log: recorded "total 3", replayed "total 4"',
  ]);
  assert.deepEqual(compare(recorded, did(append('one\n'))), [
    'append appended to /srv/app.log: recorded "total 3", replayed nothing',
  ]);
  assert.deepEqual(compare(did(), did(append('x\n', { FileName: '/other' }))), [
    'append appended to /other: recorded nothing, replayed "x"',
  ]);
  assert.deepEqual(
    compare(recorded, did(append('one\n')), { noise: noiseOf(['appends[/srv/app.log].content']) }),
    [],
  );
});

test('times and ids of the process are no differences', () => {
  const lines = (at: string, clf: string, syslog: string, epoch: string, pid: number): string =>
    `${at} start\n[${clf}] "GET / HTTP/1.1"\n<30>${syslog} app[${pid}]: x\n{"ts":${epoch},"n":42}\n`;
  const recorded = {
    ...did(
      append(
        lines('2026-11-22 20:10:11,123', '22/Nov/2026:20:10:11 +0000', 'Nov 22 20:10:11', '1795358266', 4711),
      ),
    ),
    Pid: 4711,
  };
  const replayed = {
    ...did(
      append(
        lines('2026-11-23 08:00:00,5', '23/Nov/2026:08:00:00 +0000', 'Nov 23 08:00:00', '1795358299', 815),
      ),
    ),
    Pid: 815,
  };
  assert.deepEqual(compare(recorded, replayed), []);
  assert.equal(compare(did(append('n=1111111111\n')), did(append('n=1111111112\n'))).length, 1, 'no time');
});

test('times in other forms, and those of another day, are differences', () => {
  const { CallFromInbound } = session();
  assert.ok(CallFromInbound);
  const logged = (at: string, line: string): Session => ({
    ...did(append(`${line}\n`)),
    CallFromInbound: { ...CallFromInbound, OccurredAt: BigInt(Date.parse(at)) * 1_000_000n },
  });
  const differ = (before: string, after: string): boolean =>
    compare(logged('2026-11-22T20:10:00Z', before), logged('2026-11-23T08:00:00Z', after)).length > 0;
  for (const [before, after] of [
    ['2026-11-22 20:10:11', '2026-11-23 08:00:11'],
    ['2026-11-22T21:10:11+01:00 x', '2026-11-23T09:00:11+01:00 x'],
    ['[22/Nov/2026:20:10:11 +0000]', '[23/Nov/2026:08:00:00 +0000]'],
    ['Sun Nov 22 20:10:11 2026', 'Mon Nov 23 08:00:11 2026'],
    ['Nov 9 20:10:11', 'Nov 23 08:00:11'],
    ['1795378211.5', '1795420800.123'],
    // As far from now as from then.
    ['until 2027-11-22 20:10:00', 'until 2027-11-23 08:00:00'],
  ] as const)
    assert.ok(!differ(before, after), before);
  for (const [before, after] of [
    ['2026-11-22 20:10:11', '2026-11-23T08:00:11'],
    ['2026-11-22 20:10:11', '23/Nov/2026:08:00:11 +0000'],
    ['1795378211', '1795420800123'],
    ['until 2027-11-22 20:10:00', 'until 1970-01-01 00:00:00'],
    ['2026-11-22 20:10:11', '1970-01-01 00:00:00'],
    ['22-Nov-2026 20:10:11 UTC', '22-Nov-1926 20:10:11 UTC'],
    ['Sun Nov 22 20:10:11 2026', 'Mon Nov 22 20:10:11 1926'],
  ] as const)
    assert.ok(differ(before, after), before);
});

test('what may be the append of another session fails nothing, and is told', () => {
  const recorded = did(append('mine\n', { Ambiguous: true }));
  const { Differences, Notes } = compareSessions(recorded, did(append('other\n')));
  assert.deepEqual(Differences, []);
  assert.match(Notes.join(), /\/srv\/app.log differs/);
});

test('datagrams that were not answered are compared by peer, in any order', () => {
  const recorded = did(datagram('a:1|c'), datagram('b:1|c'));
  assert.deepEqual(compare(recorded, did(datagram('b:1|c'), datagram('a:1|c'))), []);
  assert.deepEqual(compare(recorded, did(datagram('a:1|c'), datagram('b:2|c'))), [
    'datagram-changed datagram to 127.0.0.1:8125: recorded "b:1|c", replayed "b:2|c"',
  ]);
  assert.deepEqual(compare(recorded, did(datagram('a:1|c'))), [
    'datagram-missing recorded datagram was not sent: b:1|c -> 127.0.0.1:8125',
  ]);
  assert.deepEqual(compare(did(), did(datagram('c'))), [
    'datagram-extra datagram not in the recording: c -> 127.0.0.1:8125',
  ]);
});

test('a datagram that had to be sent twice need not be, where it is answered at once', () => {
  const answered = call(2, bytes('ask'), { Peer: datagram('').Peer, Matched: matched(2) });
  assert.deepEqual(compare(did(datagram('ask'), answered), did(answered)), []);
});

test('a name that the recording does not know is named once', () => {
  assert.deepEqual(compare(did(lookup('db', '')), did(lookup('db', ''), lookup('db', ''))), []);
  assert.deepEqual(compare(did(), did(lookup('gone', 'EAI_NONAME'))), [], 'it is known to fail');
  assert.deepEqual(compare(did(), did(lookup('New', 'UNRECORDED'), lookup('new', 'UNRECORDED'))), [
    'name name not in the recording: new',
  ]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call } from '../test-support/sessions.ts';
import { describeSql, purposeOf } from './sql.ts';

const mysql = (code: number, body: string | number[], sequence = 0): Uint8Array => {
  const content = typeof body === 'string' ? [...new TextEncoder().encode(body)] : body;
  const length = content.length + 1;
  return Uint8Array.from([length & 255, (length >> 8) & 255, length >> 16, sequence, code, ...content]);
};
const message = (kind: string, body: string): number[] => {
  const content = [...new TextEncoder().encode(body)];
  return [kind.codePointAt(0) ?? 0, 0, 0, 0, content.length + 4, ...content];
};
const prepare = message('P', 's1\0SELECT a FROM t WHERE id = $1\0\0\0');
const bind = message('B', '\0s1\0\0\0\0\u0001\0\0\0\u00027\u{31}\0\0');
const execute = [...message('E', '\0\0\0\0\0'), ...message('S', '')];

test('a request is told by its statement', () => {
  const said = (request: Uint8Array | number[]): string | undefined =>
    describeSql(call(1, Uint8Array.from(request)));
  assert.equal(said(mysql(3, 'SELECT 1\n  FROM t')), 'SELECT 1 FROM t');
  assert.equal(said(mysql(3, '\0\u0001SELECT 1')), 'SELECT 1');
  assert.equal(said(mysql(0x17, [7, 0, 0, 0, 0, 1, 0, 0, 0])), 'execute: statement 7');
  assert.equal(said(message('Q', 'BEGIN\0')), 'BEGIN');
  assert.equal(said([...prepare, ...bind, ...execute]), 'SELECT a FROM t WHERE id = $1 [71]');
  assert.equal(said([...bind, ...execute]), 'execute: s1 [71]');
  assert.equal(said([0, 0, 0, 8, 0, 3, 0, 0]), '(login)');
  assert.equal(said([0x47, 0x45, 0x54]), undefined);
});

test('a statement that is named by a number is found among the calls before', () => {
  const of = (index: number, request: Uint8Array, response: number[]) =>
    call(index, request, { ConnectionId: 5n, Response: Uint8Array.from(response) });
  const prepared = of(1, mysql(0x16, 'SELECT a'), [12, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const executed = of(2, mysql(0x17, [7, 0, 0, 0, 0, 1, 0, 0, 0]), []);
  assert.equal(describeSql(executed, [prepared, executed]), 'execute: SELECT a');
  assert.equal(describeSql(executed, [executed]), 'execute: statement 7');
});

test('what only concerns the connection is told from work', () => {
  const purpose = (protocol: string, request: Uint8Array | number[]) =>
    purposeOf(protocol, call(1, Uint8Array.from(request)));
  assert.equal(purpose('mysql', mysql(0x16, 'SELECT a FROM t')), 'connection');
  assert.equal(purpose('mysql', mysql(1, '')), 'connection');
  assert.equal(purpose('mysql', mysql(0, 'proof', 3)), 'connection');
  assert.equal(purpose('mysql', mysql(3, 'SET NAMES utf8')), 'set-up');
  assert.equal(purpose('mysql', mysql(3, 'SET GLOBAL x = 1')), 'work');
  assert.equal(purpose('mysql', mysql(3, 'SELECT 1')), 'connection');
  assert.equal(purpose('mysql', mysql(3, 'SELECT 1 FROM t')), 'work');
  const config = "SELECT set_config('TimeZone', 'UTC', false)\0";
  assert.equal(purpose('postgres', message('Q', config)), 'set-up');
  assert.equal(purpose('mysql', mysql(3, 'INSERT INTO t VALUES (1)')), 'work');
  assert.equal(purpose('mysql', mysql(0x17, [1, 0, 0, 0, 0, 1, 0, 0, 0])), 'work');
  assert.equal(purpose('postgres', [...prepare, ...message('S', '')]), 'connection');
  assert.equal(purpose('postgres', [...prepare, ...bind, ...execute]), 'work');
  assert.equal(purpose('postgres', [...bind, ...execute]), 'work');
  assert.equal(purpose('postgres', message('Q', 'SHOW server_version\0')), 'set-up');
  const nothing = message('P', '\0\0\0\0');
  assert.equal(
    purpose('postgres', [...nothing, ...bind, ...execute]),
    'connection',
    'whether it is still there',
  );
  assert.equal(purpose('http', mysql(1, '')), undefined);
});

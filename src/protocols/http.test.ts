import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes } from '../test-support/sessions.ts';
import { asLatin1 } from './bytes.ts';
import { headerValue, parseHttpRequest, parseHttpResponse } from './http.ts';

test('a request with a body by length', () => {
  const request = parseHttpRequest(
    bytes('POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET'),
  );
  assert.equal(request?.method, 'POST');
  assert.equal(request?.target, '/a?b=1');
  assert.equal(asLatin1(request?.body ?? bytes('')), 'abc');
  assert.equal(request?.complete, true);
});

test('a chunked response, with extensions and trailers', () => {
  const response = parseHttpResponse(
    bytes(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nT: 1\r\n\r\n',
    ),
  );
  assert.equal(asLatin1(response?.body ?? bytes('')), 'wikipedia');
  assert.equal(response?.complete, true);
});

test('bodies that were cut say so', () => {
  const cut = parseHttpResponse(bytes('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'));
  assert.equal(cut?.complete, false);
  const chunks = parseHttpResponse(bytes('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc'));
  assert.equal(asLatin1(chunks?.body ?? bytes('')), 'abc');
  assert.equal(chunks?.complete, false);
});

test('interim responses are passed over; a body may go on until the end', () => {
  const response = parseHttpResponse(
    bytes('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\nno such thing'),
  );
  assert.equal(response?.status, 404);
  assert.equal(asLatin1(response?.body ?? bytes('')), 'no such thing');
});

test('repeated headers are joined, and their names have no case', () => {
  const response = parseHttpResponse(bytes('HTTP/1.1 200 OK\r\nVia: a\r\nvia: b\r\n\r\n'));
  assert.equal(headerValue(response?.headers ?? [], 'VIA'), 'a, b');
});

test('what is not HTTP is not taken for it', () => {
  for (const text of [
    '',
    'GET',
    'hello\r\n\r\n',
    '*1\r\n$4\r\nPING\r\n',
    'GET / HTTP/2.0\r\n\r\n',
    'HTTP/1.1 2x0 OK\r\n\r\n',
  ]) {
    assert.equal(parseHttpRequest(bytes(text)), undefined, text);
    assert.equal(parseHttpResponse(bytes(text)), undefined, text);
  }
});
